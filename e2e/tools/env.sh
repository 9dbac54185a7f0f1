# Sourced by every script here and by .ci/run: makes the build find its compilers
# on a machine where HOME, PATH or the caches are bare. Changes nothing that the
# caller has set.

account_home=$(getent passwd "$(id -u)" | cut -d: -f6) || account_home=
export HOME="${HOME:-${account_home:-/root}}"
export CARAFE_CACHE="${CARAFE_CACHE:-$HOME/.cache/carafe}"

# rustup keeps its toolchains in the account's home, wherever HOME points now.
if [ ! -d "${RUSTUP_HOME:-$HOME/.rustup}" ] && [ -d "$account_home/.rustup" ]; then
    export RUSTUP_HOME="$account_home/.rustup" CARGO_HOME="${CARGO_HOME:-$account_home/.cargo}"
fi

for dir in /usr/local/sbin /usr/sbin /sbin /usr/local/go/bin "$account_home/.cargo/bin" "${CARGO_HOME:-$HOME/.cargo}/bin"; do
    case ":$PATH:" in *":$dir:"*) ;; *) [ ! -d "$dir" ] || PATH="$PATH:$dir" ;; esac
done
export PATH

# Go must neither fetch another toolchain nor ask git about a checkout it may not own.
export GOFLAGS="${GOFLAGS:--buildvcs=false}" GOTOOLCHAIN="${GOTOOLCHAIN:-local}"

# RUSTFLAGS would replace .cargo/config.toml's, and the binaries would not be static.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
