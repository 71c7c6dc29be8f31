"""What `phigate policy new` writes: `$name` and `$title` stand for the guard's."""
