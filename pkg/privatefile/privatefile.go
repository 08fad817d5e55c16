// Package privatefile opens, locks and replaces files that nobody but their
// owner may read, or put others in the place of: keys, tokens, log-ins. Whoever
// can write a folder can replace what is in it, so there are checks of folders too,
// and of the symbolic links on the way.
//
// Where permission bits say nothing, as on Windows, access lists decide, which
// folders hand down; then only what is no regular file is refused.
package privatefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Error says why a file or folder is not to be trusted.
type Error struct {
	Path   string
	Reason string // what is wrong with it
	Hint   string // the way out
}

// Error gives it all in one line.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s; %s", e.Path, e.Reason, e.Hint) }

// maxLinks is how many symbolic links a path may lead through, as Linux has it.
const maxLinks = 40

// Resolve returns where a path leads to. No symbolic link on the way may stand in
// a folder that others can write, even a sticky one: it may be theirs, and lead to
// a file of their choice. The error is an [*Error] or that of the system.
func Resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if !modesCount {
		// Only where it has to: not every path of Windows can be evaluated.
		info, err := os.Lstat(abs)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return abs, err
		}
		return filepath.EvalSymlinks(abs)
	}
	const root = string(filepath.Separator)
	real, rest := root, strings.Split(abs, root)
	for links := 0; len(rest) > 0; {
		next := filepath.Join(real, rest[0]) // also for "", "." and ".."
		rest = rest[1:]
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			return "", err
		case info.Mode()&fs.ModeSymlink == 0:
			real = next
			continue
		}
		folder, err := os.Stat(real)
		if err != nil {
			return "", err
		}
		if folder.Mode().Perm()&0o022 != 0 || !ours(folder) {
			return "", &Error{next, "it is a symbolic link in a folder that others can write", "name what it leads to, if that is right"}
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			real = root
		}
		rest = append(strings.Split(target, root), rest...)
	}
	return real, nil
}

// Open opens a regular file that is ours, or root's, and that nobody else can
// read. Its folder is for [CheckFolder], a path with symbolic links for [Resolve] before that. With os.O_CREATE it is
// made with mode 0600. Nothing that blocks or does something when it is opened,
// such as a FIFO or a device, is opened. The error is an [*Error] or that of the
// system.
func Open(path string, flag int) (*os.File, error) {
	info, err := os.Lstat(path)
	if err == nil {
		err = check(path, info)
	} else if flag&os.O_CREATE != 0 && errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	// It may be another by now: what was opened is what is judged.
	f, err := os.OpenFile(path, flag|openFlags, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = check(path, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func check(path string, info fs.FileInfo) error {
	mode := info.Mode()
	switch {
	case !mode.IsRegular():
		return &Error{path, "it is not a regular file", "name the file itself"}
	case !modesCount:
	case !ours(info):
		return &Error{path, "it belongs to another user", fmt.Sprintf("see who made it; if it is right, chown %d %s", os.Geteuid(), path)}
	case mode.Perm()&0o077 != 0:
		return &Error{path, fmt.Sprintf("others can get at it, its mode is %04o", mode.Perm()), "if nobody has, chmod 600 " + path}
	}
	return nil
}

// CheckFolder refuses a folder in which others can replace what is ours. The
// error is an [*Error] or that of the system.
func CheckFolder(folder string) error {
	info, err := os.Stat(folder)
	switch {
	case err != nil || !modesCount:
		return err
	case !ours(info):
		return &Error{folder, "the folder belongs to another user", "use a folder of your own"}
	case info.Mode().Perm()&0o022 != 0:
		return &Error{folder, fmt.Sprintf("others can replace what is in the folder, its mode is %04o", info.Mode().Perm()), "if nobody has, chmod 700 " + folder}
	}
	return nil
}

// MakeFolders makes a folder and those above it that are missing, with mode 0700
// and durably.
func MakeFolders(folder string) error {
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(folder)
	if above == folder {
		return &fs.PathError{Op: "mkdir", Path: folder, Err: fs.ErrNotExist}
	}
	if err := MakeFolders(above); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncFolder(above)
}

// StillThere reports whether an open file is what stands at its path.
func StillThere(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(open, there)
}

// Create makes a file that was not there. It is complete and durable, or gone.
func Create(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = fill(f, write); err == nil {
		err = SyncFolder(filepath.Dir(path))
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// Replace puts a file in the place of what is there, if anything is: a crash
// leaves that or the whole new one.
func Replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = fill(f, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = SyncFolder(filepath.Dir(path))
	}
	return err
}

// fill writes a new file, waits until it is on the disk, and closes it.
func fill(f *os.File, write func(io.Writer) error) error {
	err := write(f)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
