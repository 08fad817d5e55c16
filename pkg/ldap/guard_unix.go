//go:build unix

package ldap

import (
	"fmt"
	"os"
	"syscall"
)

// openPrivately opens a regular file of ours, or of root's, that nobody else
// can read. No pipe is waited for, and what was opened is what is judged.
func openPrivately(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := guard(f, path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func guard(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case !ok || stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user", path)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("others can get at %s, its mode is %04o: if nobody has, chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return nil
}
