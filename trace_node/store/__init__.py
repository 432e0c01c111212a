"""Where bytes rest: SQL, files, key files. Table rows never leave this package."""
