//go:build unix && !solaris && !aix

package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// TestGuardRefusesModes: a store that others can read, write or replace.
func TestGuardRefusesModes(t *testing.T) {
	for _, test := range []struct {
		folder, file os.FileMode
		message      string
		hint         string
	}{
		{0o755, 0o644, "is open to others: mode 0644", "chmod 600 FILE"},
		{0o755, 0o640, "is open to others: mode 0640", "chmod 600 FILE"},
		{0o755, 0o660, "is open to others: mode 0660", "chmod 600 FILE"},
		{0o755, 0o602, "is open to others: mode 0602", "chmod 600 FILE"},
		{0o775, 0o600, "others can write to the folder FOLDER: mode 0775", "chmod go-w FOLDER"},
		{0o707, 0o600, "others can write to the folder FOLDER: mode 0707", "chmod go-w FOLDER"},
		{0o777, 0o600, "others can write to the folder FOLDER: mode 0777", "chmod go-w FOLDER"},
		{0o777 | os.ModeSticky, 0o644, "is open to others", "chmod 600"},
		{0o755, 0o600, "", ""},
		{0o700, 0o600, "", ""},
		{0o700, 0o400, "", ""}, // can be read at least
		{0o777 | os.ModeSticky, 0o600, "", ""},
	} {
		t.Run(fmt.Sprintf("%v/%v", test.folder, test.file), func(t *testing.T) {
			path := newPath(t)
			folder := filepath.Dir(path)
			must(t, os.Chmod(folder, test.folder))
			must(t, os.Chmod(path, test.file))
			if test.message == "" {
				s := open(t, Options{Path: path})
				_, err := readAll(s)
				must(t, err)
				return
			}
			replace := strings.NewReplacer("FILE", path, "FOLDER", folder)
			refused(t, path, replace.Replace(test.message), replace.Replace(test.hint))
		})
	}
}

func TestGuardRefusesOtherOwners(t *testing.T) {
	path := newPath(t)
	foreign := "/etc/passwd"
	if os.Geteuid() == 0 {
		must(t, os.Chown(path, 4711, -1))
		foreign = path
	}
	refused(t, foreign, "belongs to another user (uid ", "run as the owner")
	if os.Geteuid() == 0 {
		must(t, os.Chown(path, 0, -1))
		must(t, os.Chown(filepath.Dir(path), 4711, -1))
		refused(t, path, "the folder "+filepath.Dir(path)+" belongs to another user (uid 4711", "folder of your own")
	}
}

// TestGuardRefusesSpecialFiles must not hang: opening a FIFO does.
func TestGuardRefusesSpecialFiles(t *testing.T) {
	folder := t.TempDir()
	fifo := filepath.Join(folder, "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	socket := filepath.Join(folder, "socket")
	l, err := net.Listen("unix", socket)
	must(t, err)
	defer l.Close()
	for path, message := range map[string]string{
		fifo:        "is no regular file: p",
		socket:      "is no regular file: S",
		"/dev/null": "is no regular file: D",
	} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, exclusive := range []bool{false, true} {
				_, err := Open(Options{Path: path, Exclusive: exclusive})
				if !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), message) {
					t.Errorf("%s: Open returned %v", path, err)
				}
			}
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatalf("opening %s hangs", path)
		}
	}
}

// TestFIFOAtTheLastMoment: even if somebody exchanges the file after we have
// looked at it, opening does not block.
func TestFIFOAtTheLastMoment(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	done := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(fifo, os.O_RDONLY|openFlags, 0)
		if err == nil {
			f.Close()
		}
		done <- err
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("opening a FIFO with openFlags hangs")
	}
}

func TestSymlinks(t *testing.T) {
	real := newPath(t)
	for _, test := range []struct {
		name   string
		mode   os.FileMode // of the folder with the link
		target string
		suffix string // behind the link
		allow  bool
	}{
		{"own folder", 0o755, real, "", true},
		{"private folder", 0o700, real, "", true},
		{"to the folder", 0o700, filepath.Dir(real), "/tokens.db", true},
		{"sticky folder", 0o777 | os.ModeSticky, real, "", false},
		{"open folder", 0o777, real, "", false},
		{"group's folder", 0o775, real, "", false},
		{"to the folder, in a sticky folder", 0o777 | os.ModeSticky, filepath.Dir(real), "/tokens.db", false},
		{"to the folder, in an open folder", 0o777, filepath.Dir(real), "/tokens.db", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			folder := t.TempDir()
			must(t, os.Chmod(folder, test.mode))
			link := filepath.Join(folder, "link")
			must(t, os.Symlink(test.target, link))
			path := link + test.suffix
			if test.allow {
				must(t, open(t, Options{Path: path}).Close())
				return
			}
			refused(t, path, link+": it is a symbolic link in a folder that others can write", "name what it leads to")
		})
	}
	t.Run("relative, over another", func(t *testing.T) {
		folder := filepath.Dir(real)
		must(t, os.Mkdir(filepath.Join(folder, "sub"), 0o700))
		must(t, os.Symlink("../two", filepath.Join(folder, "sub", "one")))
		must(t, os.Symlink("tokens.db", filepath.Join(folder, "two")))
		must(t, open(t, Options{Path: filepath.Join(folder, "sub", "one")}).Close())
	})
	t.Run("in a circle", func(t *testing.T) {
		folder := t.TempDir()
		must(t, os.Symlink("b", filepath.Join(folder, "a")))
		must(t, os.Symlink("a", filepath.Join(folder, "b")))
		refused(t, filepath.Join(folder, "a"), "too many levels of symbolic links", "")
	})
	t.Run("to nothing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a")
		must(t, os.Symlink("b", path))
		if _, err := Open(Options{Path: path}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open returned %v", err)
		}
	})
}

// TestReplacedWhileWaiting: who restores a backup puts another file in the
// place of the one that we wait for. The write must not go to the old one.
func TestReplacedWhileWaiting(t *testing.T) {
	path, other := newPath(t), newPath(t)
	s := open(t, Options{Path: path, LockTimeout: 10 * time.Second})
	old, err := os.Open(path)
	must(t, err)
	defer old.Close()
	must(t, syscall.Flock(int(old.Fd()), syscall.LOCK_EX))
	written := make(chan error, 1)
	go func() { written <- write(s) }()
	time.Sleep(20 * time.Millisecond) // it waits now, most likely
	must(t, os.Rename(other, path))
	must(t, syscall.Flock(int(old.Fd()), syscall.LOCK_UN))
	must(t, <-written)
	if n, err := readAll(s); n == 0 || err != nil {
		t.Errorf("the new file has %d entries, %v", n, err)
	}
	b := make([]byte, 1<<20)
	n, _ := old.ReadAt(b, 0)
	if bytes.Contains(b[:n], rowKeys(10_000)[0]) {
		t.Error("the old file was written")
	}
}

func TestQuote(t *testing.T) {
	for path, want := range map[string]string{"/a/b.db": "/a/b.db", "/a b": "'/a b'", "/it's": `'/it'\''s'`, "/$(x)": "'/$(x)'"} {
		if got := quote(path); got != want {
			t.Errorf("quote(%q) = %s, want %s", path, got, want)
		}
	}
}
