//! The manifest that stretcher and shipit apply follow: its model, its template, its checks.
