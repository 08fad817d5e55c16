package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/privatefile"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// guard opens the file, locks it and looks at it before anybody maps it.
func (s *Store) guard(ctx context.Context, write bool) (_ *os.File, p pages, err error) {
	// Somebody who restores a backup puts another file in the place of the one
	// that we wait for: then look again.
	for range 10 {
		f, err := openSafely(s.options.Path, write)
		if err != nil {
			return nil, p, err
		}
		if err := lock(ctx, f, write, s.options.LockTimeout); err != nil {
			defer f.Close()
			switch {
			case errors.Is(err, ErrBusy):
				return nil, p, busy(s.options.Path, f)
			case ctx.Err() != nil:
				return nil, p, ended(ctx)
			default:
				return nil, p, token.Errorf(token.ErrCannotTell, "%s cannot be locked: %w", s.options.Path, err)
			}
		}
		if privatefile.StillThere(f) {
			if p, err = checkPages(f, s.options.Path, write); err != nil {
				release(f)
				return nil, p, err
			}
			return f, p, nil
		}
		release(f)
	}
	return nil, p, token.Errorf(token.ErrCannotTell, "%s is replaced all the time", s.options.Path)
}

// ErrBusy is wrapped by the error for a file whose lock somebody else has held
// for too long.
var ErrBusy = errors.New("locked by somebody else")

func busy(path string, f *os.File) error {
	who := "another process"
	if f != nil {
		if names := holders(f); names != "" {
			who = names
		}
	}
	return &token.Error{
		Kind: token.ErrCannotTell, Cause: ErrBusy,
		Message: fmt.Sprintf("%s is in use by %s", path, who),
		Hint:    "wait until it has ended; what serve holds is reached through serve",
	}
}

// openSafely opens a regular file that nobody but us can read, write or
// replace. Nothing that blocks or does something when opened, such as a FIFO or
// a device, is opened.
func openSafely(path string, write bool) (*os.File, error) {
	real, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if err := checkFolder(filepath.Dir(real)); err != nil {
		return nil, err
	}
	info, err := os.Lstat(real)
	if err != nil {
		return nil, unopened(path, err)
	}
	if err := checkFile(path, real, info); err != nil {
		return nil, err
	}
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(real, flag|openFlags, 0)
	if err != nil {
		return nil, unopened(path, err)
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(info, opened) {
		err = errors.New("another file was put in its place just now")
	}
	if err != nil {
		f.Close()
		return nil, unopened(path, err)
	}
	return f, nil
}

func unopened(path string, err error) error {
	var detail *fs.PathError
	if errors.As(err, &detail) {
		err = detail.Err // it names another path, or the same again
	}
	if errors.Is(err, fs.ErrNotExist) {
		return token.Errorf(token.ErrCannotTell, "%s is not there: %w", path, err)
	}
	return token.Errorf(token.ErrCannotTell, "%s cannot be opened: %w", path, err)
}

func checkFile(path, real string, info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return token.Errorf(token.ErrCannotTell, "%s is a folder, not a file", path)
	case !info.Mode().IsRegular():
		return token.Errorf(token.ErrCannotTell, "%s is no regular file: %s", path, info.Mode())
	}
	if err := checkOwner(path, info); err != nil {
		return err
	}
	if others := info.Mode().Perm() & 0o077; others != 0 && modesCount {
		return token.Errorf(token.ErrCannotTell, "%s is open to others: mode %04o", path, info.Mode().Perm()).
			WithHint("chmod 600 %s", quote(real))
	}
	if info.Size() == 0 {
		return token.Errorf(token.ErrCannotTell, "%s is empty: its content is lost", path).
			WithHint("restore a backup; if there never was a store, remove the empty file")
	}
	return nil
}

// checkFolder refuses a folder in which others could put another file in the
// place of ours. That others can look into it does no harm, and in one like
// /tmp, sticky and of root, nobody can replace what is ours.
func checkFolder(folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return unopened(folder, err)
	}
	if err := checkFolderOwner(folder, info); err != nil {
		return err
	}
	if writable := info.Mode().Perm()&0o022 != 0; writable && info.Mode()&fs.ModeSticky == 0 && modesCount {
		return token.Errorf(token.ErrCannotTell, "others can write to the folder %s: mode %04o", folder, info.Mode().Perm()).
			WithHint("chmod go-w %s", quote(folder))
	}
	return nil
}

// resolve follows the symbolic links in a path.
func resolve(path string) (string, error) {
	real, err := privatefile.Resolve(path)
	var unsafe *privatefile.Error
	if errors.As(err, &unsafe) {
		return "", token.Errorf(token.ErrCannotTell, "%s: %s", unsafe.Path, unsafe.Reason).WithHint("%s", unsafe.Hint)
	}
	if err != nil {
		return "", unopened(path, err)
	}
	return real, nil
}

// quote makes one word of a path for a shell.
func quote(path string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@%"
	if strings.Trim(path, plain) == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
