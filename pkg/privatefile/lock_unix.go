//go:build unix

package privatefile

import (
	"os"
	"syscall"
)

// tryLock takes the flock of a file, if nobody has it.
func tryLock(f *os.File) (locked bool, err error) {
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
	case nil:
		return true, nil
	case syscall.EWOULDBLOCK, syscall.EINTR:
		return false, nil
	default:
		return false, os.NewSyscallError("flock", err)
	}
}
