//go:build unix

package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

// IsClosed reports whether w is a standard stream that was closed when the
// program started (>&- in a shell). Go's runtime then opens /dev/null for
// reading and writing in its place, and writing to it succeeds. A stream that
// a shell sends to /dev/null is open for writing alone.
func IsClosed(w any) bool {
	f, ok := w.(*os.File)
	if !ok || f != os.Stdout && f != os.Stderr {
		return false
	}
	var null, got unix.Stat_t
	if unix.Stat(os.DevNull, &null) != nil || unix.Fstat(int(f.Fd()), &got) != nil || got.Rdev != null.Rdev || got.Mode&unix.S_IFMT != unix.S_IFCHR {
		return false
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDWR
}
