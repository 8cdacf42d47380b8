//! Where artifacts and releases live: objects in S3 or a directory, the layout of keys, publishing.
