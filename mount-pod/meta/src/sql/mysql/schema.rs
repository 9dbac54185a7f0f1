//! The tables: JuiceFS's as it makes them itself, and our own beside them.
//!
//! Types and index names are those that the peer's own table check expects, so that
//! it finds nothing to alter. Indexes stand in their tables: MySQL has no way to make
//! one only if it is not there.

/// Each table with the statement that makes it; each may run where it is there.
pub(super) const TABLES: &[(&str, &[&str])] = &[
    (
        "jfs_setting",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_setting` (`name` VARCHAR(255) PRIMARY KEY NOT NULL, `value` TEXT NOT NULL) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_counter",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_counter` (`name` VARCHAR(255) PRIMARY KEY NOT NULL, `value` BIGINT(20) NOT NULL) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_edge",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_edge` (`id` BIGINT(20) PRIMARY KEY AUTO_INCREMENT NOT NULL, `parent` BIGINT(20) NOT NULL, `name` VARBINARY(255) NOT NULL, `inode` BIGINT(20) NOT NULL, `type` INT NOT NULL, UNIQUE KEY `UQE_jfs_edge_edge` (`parent`,`name`), KEY `IDX_jfs_edge_inode` (`inode`)) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_node",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_node` (`inode` BIGINT(20) PRIMARY KEY NOT NULL, `type` INT NOT NULL, `flags` INT NOT NULL, `mode` INT NOT NULL, `uid` INT NOT NULL, `gid` INT NOT NULL, `atime` BIGINT(20) NOT NULL, `mtime` BIGINT(20) NOT NULL, `ctime` BIGINT(20) NOT NULL, `atimensec` INT DEFAULT 0 NOT NULL, `mtimensec` INT DEFAULT 0 NOT NULL, `ctimensec` INT DEFAULT 0 NOT NULL, `nlink` INT NOT NULL, `length` BIGINT(20) NOT NULL, `rdev` INT NULL, `parent` BIGINT(20) NULL, `access_acl_id` INT NULL, `default_acl_id` INT NULL) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_symlink",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_symlink` (`inode` BIGINT(20) PRIMARY KEY NOT NULL, `target` VARBINARY(4096) NOT NULL) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_xattr",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_xattr` (`id` BIGINT(20) PRIMARY KEY AUTO_INCREMENT NOT NULL, `inode` BIGINT(20) NOT NULL, `name` VARCHAR(255) NOT NULL, `value` BLOB NOT NULL, UNIQUE KEY `UQE_jfs_xattr_name` (`inode`,`name`)) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_chunk",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_chunk` (`id` BIGINT(20) PRIMARY KEY AUTO_INCREMENT NOT NULL, `inode` BIGINT(20) NOT NULL, `indx` INT NOT NULL, `slices` BLOB NOT NULL, UNIQUE KEY `UQE_jfs_chunk_chunk` (`inode`,`indx`)) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_chunk_ref",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_chunk_ref` (`chunkid` BIGINT(20) PRIMARY KEY NOT NULL, `size` INT NOT NULL, `refs` INT NOT NULL, KEY `IDX_jfs_chunk_ref_refs` (`refs`)) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_delslices",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_delslices` (`chunkid` BIGINT(20) PRIMARY KEY NOT NULL, `deleted` BIGINT(20) NOT NULL, `slices` BLOB NOT NULL) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_session2",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_session2` (`sid` BIGINT(20) PRIMARY KEY NOT NULL, `expire` BIGINT(20) NOT NULL, `info` BLOB NULL) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_sustained",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_sustained` (`id` BIGINT(20) PRIMARY KEY AUTO_INCREMENT NOT NULL, `sid` BIGINT(20) NOT NULL, `inode` BIGINT(20) NOT NULL, UNIQUE KEY `UQE_jfs_sustained_sustained` (`sid`,`inode`)) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_delfile",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_delfile` (`inode` BIGINT(20) PRIMARY KEY NOT NULL, `length` BIGINT(20) NOT NULL, `expire` BIGINT(20) NOT NULL) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_flock",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_flock` (`id` BIGINT(20) PRIMARY KEY AUTO_INCREMENT NOT NULL, `inode` BIGINT(20) NOT NULL, `sid` BIGINT(20) NOT NULL, `owner` BIGINT(20) NOT NULL, `ltype` INT NOT NULL, UNIQUE KEY `UQE_jfs_flock_flock` (`inode`,`sid`,`owner`)) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_plock",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_plock` (`id` BIGINT(20) PRIMARY KEY AUTO_INCREMENT NOT NULL, `inode` BIGINT(20) NOT NULL, `sid` BIGINT(20) NOT NULL, `owner` BIGINT(20) NOT NULL, `records` BLOB NOT NULL, UNIQUE KEY `UQE_jfs_plock_plock` (`inode`,`sid`,`owner`)) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_dir_quota",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_dir_quota` (`inode` BIGINT(20) PRIMARY KEY NOT NULL, `max_space` BIGINT(20) NOT NULL, `max_inodes` BIGINT(20) NOT NULL, `used_space` BIGINT(20) NOT NULL, `used_inodes` BIGINT(20) NOT NULL) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_dir_stats",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_dir_stats` (`inode` BIGINT(20) PRIMARY KEY NOT NULL, `data_length` BIGINT(20) NOT NULL, `used_space` BIGINT(20) NOT NULL, `used_inodes` BIGINT(20) NOT NULL) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_detached_node",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_detached_node` (`inode` BIGINT(20) PRIMARY KEY NOT NULL, `added` BIGINT(20) NOT NULL) ENGINE=InnoDB",
        ],
    ),
    (
        "jfs_acl",
        &[
            "CREATE TABLE IF NOT EXISTS `jfs_acl` (`id` INT PRIMARY KEY AUTO_INCREMENT NOT NULL, `owner` INT NULL, `group` INT NULL, `mask` INT NULL, `other` INT NULL, `named_users` BLOB NULL, `named_groups` BLOB NULL) ENGINE=InnoDB",
        ],
    ),
    // Our own tables, which the peer ignores. Ids and paths are compared as bytes, as
    // every engine does; a path may be longer than an index holds.
    (
        "carafe_volume",
        &[
            "CREATE TABLE IF NOT EXISTS `carafe_volume` (`id` VARBINARY(255) PRIMARY KEY NOT NULL, `path` VARBINARY(4096) NOT NULL, `record` LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, KEY `carafe_volume_path` (`path`(255))) ENGINE=InnoDB",
        ],
    ),
    (
        "carafe_op",
        &[
            "CREATE TABLE IF NOT EXISTS `carafe_op` (`session` BIGINT(20) NOT NULL, `slot` BIGINT(20) NOT NULL, `record` LONGBLOB NOT NULL, PRIMARY KEY (`session`,`slot`)) ENGINE=InnoDB",
        ],
    ),
];

/// Lists the tables of the database; there are no schemas within one.
pub(super) const LIST: &str =
    "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND ? = ''";
