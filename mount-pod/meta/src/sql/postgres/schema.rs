//! The tables: JuiceFS's as it makes them itself, and our own beside them.
//!
//! Types and index names are those that the peer's own table check expects, so that
//! it finds nothing to alter.

/// Each table with the statements that make it; each may run where it is there.
pub(super) const TABLES: &[(&str, &[&str])] = &[
    (
        "jfs_setting",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_setting (name VARCHAR(255) PRIMARY KEY NOT NULL, value VARCHAR(4096) NOT NULL)",
        ],
    ),
    (
        "jfs_counter",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_counter (name VARCHAR(255) PRIMARY KEY NOT NULL, value BIGINT NOT NULL)",
        ],
    ),
    (
        "jfs_edge",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_edge (id BIGSERIAL PRIMARY KEY NOT NULL, parent BIGINT NOT NULL, name BYTEA NOT NULL, inode BIGINT NOT NULL, type INTEGER NOT NULL)",
            "CREATE UNIQUE INDEX IF NOT EXISTS \"UQE_jfs_edge_edge\" ON jfs_edge (parent, name)",
            "CREATE INDEX IF NOT EXISTS \"IDX_jfs_edge_inode\" ON jfs_edge (inode)",
        ],
    ),
    (
        "jfs_node",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_node (inode BIGINT PRIMARY KEY NOT NULL, type INTEGER NOT NULL, flags INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, atime BIGINT NOT NULL, mtime BIGINT NOT NULL, ctime BIGINT NOT NULL, atimensec INTEGER DEFAULT 0 NOT NULL, mtimensec INTEGER DEFAULT 0 NOT NULL, ctimensec INTEGER DEFAULT 0 NOT NULL, nlink INTEGER NOT NULL, length BIGINT NOT NULL, rdev INTEGER NULL, parent BIGINT NULL, access_acl_id INTEGER NULL, default_acl_id INTEGER NULL)",
        ],
    ),
    (
        "jfs_symlink",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_symlink (inode BIGINT PRIMARY KEY NOT NULL, target BYTEA NOT NULL)",
        ],
    ),
    (
        "jfs_xattr",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_xattr (id BIGSERIAL PRIMARY KEY NOT NULL, inode BIGINT NOT NULL, name VARCHAR(255) NOT NULL, value BYTEA NOT NULL)",
            "CREATE UNIQUE INDEX IF NOT EXISTS \"UQE_jfs_xattr_name\" ON jfs_xattr (inode, name)",
        ],
    ),
    (
        "jfs_chunk",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_chunk (id BIGSERIAL PRIMARY KEY NOT NULL, inode BIGINT NOT NULL, indx INTEGER NOT NULL, slices BYTEA NOT NULL)",
            "CREATE UNIQUE INDEX IF NOT EXISTS \"UQE_jfs_chunk_chunk\" ON jfs_chunk (inode, indx)",
        ],
    ),
    (
        "jfs_chunk_ref",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_chunk_ref (chunkid BIGINT PRIMARY KEY NOT NULL, size INTEGER NOT NULL, refs INTEGER NOT NULL)",
            "CREATE INDEX IF NOT EXISTS \"IDX_jfs_chunk_ref_refs\" ON jfs_chunk_ref (refs)",
        ],
    ),
    (
        "jfs_delslices",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_delslices (chunkid BIGINT PRIMARY KEY NOT NULL, deleted BIGINT NOT NULL, slices BYTEA NOT NULL)",
        ],
    ),
    (
        "jfs_session2",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_session2 (sid BIGINT PRIMARY KEY NOT NULL, expire BIGINT NOT NULL, info BYTEA NULL)",
        ],
    ),
    (
        "jfs_sustained",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_sustained (id BIGSERIAL PRIMARY KEY NOT NULL, sid BIGINT NOT NULL, inode BIGINT NOT NULL)",
            "CREATE UNIQUE INDEX IF NOT EXISTS \"UQE_jfs_sustained_sustained\" ON jfs_sustained (sid, inode)",
        ],
    ),
    (
        "jfs_delfile",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_delfile (inode BIGINT PRIMARY KEY NOT NULL, length BIGINT NOT NULL, expire BIGINT NOT NULL)",
        ],
    ),
    (
        "jfs_flock",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_flock (id BIGSERIAL PRIMARY KEY NOT NULL, inode BIGINT NOT NULL, sid BIGINT NOT NULL, owner BIGINT NOT NULL, ltype INTEGER NOT NULL)",
            "CREATE UNIQUE INDEX IF NOT EXISTS \"UQE_jfs_flock_flock\" ON jfs_flock (inode, sid, owner)",
        ],
    ),
    (
        "jfs_plock",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_plock (id BIGSERIAL PRIMARY KEY NOT NULL, inode BIGINT NOT NULL, sid BIGINT NOT NULL, owner BIGINT NOT NULL, records BYTEA NOT NULL)",
            "CREATE UNIQUE INDEX IF NOT EXISTS \"UQE_jfs_plock_plock\" ON jfs_plock (inode, sid, owner)",
        ],
    ),
    (
        "jfs_dir_quota",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_dir_quota (inode BIGINT PRIMARY KEY NOT NULL, max_space BIGINT NOT NULL, max_inodes BIGINT NOT NULL, used_space BIGINT NOT NULL, used_inodes BIGINT NOT NULL)",
        ],
    ),
    (
        "jfs_dir_stats",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_dir_stats (inode BIGINT PRIMARY KEY NOT NULL, data_length BIGINT NOT NULL, used_space BIGINT NOT NULL, used_inodes BIGINT NOT NULL)",
        ],
    ),
    (
        "jfs_detached_node",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_detached_node (inode BIGINT PRIMARY KEY NOT NULL, added BIGINT NOT NULL)",
        ],
    ),
    (
        "jfs_acl",
        &[
            "CREATE TABLE IF NOT EXISTS jfs_acl (id SERIAL PRIMARY KEY NOT NULL, owner INTEGER NULL, \"group\" INTEGER NULL, mask INTEGER NULL, other INTEGER NULL, named_users BYTEA NULL, named_groups BYTEA NULL)",
        ],
    ),
    // Our own tables, which the peer ignores.
    (
        "carafe_volume",
        &[
            // In the order of bytes, as every engine lists volumes; a path may be longer
            // than an ordered index holds.
            "CREATE TABLE IF NOT EXISTS carafe_volume (id TEXT COLLATE \"C\" PRIMARY KEY NOT NULL, path TEXT NOT NULL, record TEXT NOT NULL)",
            "CREATE INDEX IF NOT EXISTS \"carafe_volume_path\" ON carafe_volume USING hash (path)",
        ],
    ),
    (
        "carafe_op",
        &[
            "CREATE TABLE IF NOT EXISTS carafe_op (session BIGINT NOT NULL, slot BIGINT NOT NULL, record BYTEA NOT NULL, PRIMARY KEY (session, slot))",
        ],
    ),
];

/// Lists the tables of a schema, or of the server's default one.
pub(super) const LIST: &str = "SELECT CAST(table_name AS text) FROM information_schema.tables \
     WHERE table_schema = COALESCE(NULLIF(?, ''), current_schema())";
