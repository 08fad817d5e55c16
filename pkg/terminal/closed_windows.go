package terminal

// IsClosed reports whether w is a standard stream that was closed when the
// program started. On Windows writing to such a stream fails by itself.
func IsClosed(any) bool { return false }
