//! The source of a deploy: the mirror of a git repository, a revision in it, its tree.
