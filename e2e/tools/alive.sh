# Sourced. `alive WHAT COMMAND…` runs the command, and every half minute says on
# the terminal that it still runs: some builds are silent for minutes, and a
# silent job looks dead, to people and to whoever ends jobs that say nothing.
exec 8>&2

alive() {
    local what=$1 status=0 teller
    shift
    (
        seconds=0
        # Its own sleep ends with it, or would hold the caller's pipe open.
        trap 'kill "$sleeper"; exit' TERM
        while :; do
            sleep 30 8>&- &
            sleeper=$!
            wait "$sleeper"
            seconds=$((seconds + 30))
            echo "   … $what: still running after $seconds s" >&8
        done
    ) </dev/null >/dev/null 2>&1 9>&- &
    teller=$!
    "$@" 8>&- || status=$?
    kill "$teller" 2>/dev/null || true
    wait "$teller" 2>/dev/null || true
    return "$status"
}
