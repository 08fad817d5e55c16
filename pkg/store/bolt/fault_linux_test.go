//go:build amd64 || arm64

package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/needs"
)

// cannot is the exit code of a child whose system does not let it try.
const cannot = 77

func init() {
	children["big"] = fileTooBig
	children["full"] = diskFull
	children["eio"] = syncFails
	children["durable"] = acknowledgedIsDurable
}

// runChild runs a child that tests by itself.
func runChild(t *testing.T, name, path, argument string, attributes *syscall.SysProcAttr) (output string, err error) {
	t.Helper()
	c := child(t, name, path, argument)
	c.SysProcAttr = attributes
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err = c.Run()
	var exit *exec.ExitError
	started := err == nil || errors.As(err, &exit)
	if !started || exit != nil && exit.ExitCode() == cannot {
		why := fmt.Sprintf("this system does not let the test do it: %v %s", err, out.String())
		needs.Missing(t, why)
	}
	return out.String(), err
}

func passes(t *testing.T, name, path, argument string, attributes *syscall.SysProcAttr) {
	t.Helper()
	if out, err := runChild(t, name, path, argument, attributes); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func unable(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(cannot)
}

// fillUntilError writes 20 KB at a time. It counts what was acknowledged.
func fillUntilError(s *Store) (acknowledged int, err error) {
	for ; acknowledged < 1000; acknowledged++ {
		if err = s.Update(background, func(w store.Writer) error {
			return w.Put(fmt.Appendf(nil, "fill%05d", acknowledged), make([]byte, 20_000))
		}); err != nil {
			return acknowledged, err
		}
	}
	return acknowledged, errors.New("the disk is endless")
}

// afterwards checks what holds once a commit has failed. The cause is looked
// for in the text: bbolt does not always wrap it.
func afterwards(s *Store, acknowledged int, failure, cause error) error {
	if !errors.Is(failure, store.ErrOutcomeUnknown) || !errors.Is(failure, token.ErrCannotTell) || !strings.Contains(failure.Error(), cause.Error()) {
		return fmt.Errorf("the commit that failed returned %v, want one that wraps ErrOutcomeUnknown and %v", failure, cause)
	}
	called := false
	err := s.Update(background, func(store.Writer) error { called = true; return nil })
	if called || !errors.Is(err, token.ErrCannotTell) || errors.Is(err, store.ErrOutcomeUnknown) {
		return fmt.Errorf("the next Update (fn called: %v) returned %v", called, err)
	}
	if err := holds(s, acknowledged); err != nil {
		return fmt.Errorf("in the process whose commit failed: %w", err)
	}
	return nil
}

// holds checks that all acknowledged records are there, and at most the one
// that nobody knows of besides.
func holds(s *Store, acknowledged int) error {
	found := 0
	err := s.View(background, func(r store.Reader) error {
		for e, err := range r.Scan([]byte("fill"), nil) {
			if err != nil {
				return err
			}
			if want := fmt.Sprintf("fill%05d", found); string(e.Key) != want || len(e.Value) != 20_000 {
				return fmt.Errorf("%q (%d bytes) where %q should be", e.Key, len(e.Value), want)
			}
			found++
		}
		return nil
	})
	if err == nil && (found < acknowledged || found > acknowledged+1) {
		err = fmt.Errorf("%d records of %d", found, acknowledged)
	}
	return err
}

// usable checks that a new process can go on.
func usable(path string, acknowledged int) error {
	s, err := Open(Options{Path: path})
	if err != nil {
		return err
	}
	return errors.Join(holds(s, acknowledged), s.Update(background, func(w store.Writer) error { return w.Delete([]byte("fill00000")) }), s.Close())
}

// fileTooBig runs into a limit of the file's size (EFBIG).
func fileTooBig(path, mode string) error {
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		unable(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 400_000, Max: before.Max}); err != nil {
		unable(err)
	}
	s, err := Open(Options{Path: path, Exclusive: mode == "exclusive"})
	if err != nil {
		return err
	}
	n, failure := fillUntilError(s)
	if err := errors.Join(afterwards(s, n, failure, syscall.EFBIG), s.Close(), syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before)); err != nil {
		return err
	}
	return usable(path, n)
}

// diskFull runs into the end of a small file system of its own (ENOSPC).
func diskFull(folder, mode string) error {
	if err := syscall.Mount("none", folder, "tmpfs", 0, "size=400k,mode=700"); err != nil {
		unable(fmt.Errorf("mount: %w", err))
	}
	path := filepath.Join(folder, "tokens.db")
	if err := Create(path); err != nil {
		return err
	}
	s, err := Open(Options{Path: path, Exclusive: mode == "exclusive"})
	if err != nil {
		return err
	}
	n, failure := fillUntilError(s)
	if err := errors.Join(afterwards(s, n, failure, syscall.ENOSPC), s.Close()); err != nil {
		return err
	}
	if err := syscall.Mount("none", folder, "tmpfs", syscall.MS_REMOUNT, "size=4m"); err != nil {
		return err
	}
	return usable(path, n)
}

// syncFails lets one fdatasync of a commit fail (EIO): the first one, of the
// data, or the second one, of the meta page. What bbolt has written is in the
// file all the same.
func syncFails(path, argument string) error {
	mode, which, _ := strings.Cut(argument, " ")
	s, err := Open(Options{Path: path, Exclusive: mode == "exclusive"})
	if err != nil {
		return err
	}
	const good = 5
	for i := range good {
		if err := s.Update(background, func(w store.Writer) error {
			return w.Put(fmt.Appendf(nil, "fill%05d", i), make([]byte, 20_000))
		}); err != nil {
			return err
		}
	}
	var syncs atomic.Int32
	if err := superviseSyncs(func(number uint32, _ int) syscall.Errno {
		if number == syscall.SYS_FDATASYNC && fmt.Sprint(syncs.Add(1)) == which {
			return syscall.EIO
		}
		return 0
	}); err != nil {
		unable(err)
	}
	failure := s.Update(background, func(w store.Writer) error {
		return w.Put(fmt.Appendf(nil, "fill%05d", good), make([]byte, 20_000))
	})
	if err := errors.Join(afterwards(s, good, failure, syscall.EIO), s.Close()); err != nil {
		return err
	}
	left, err := Open(Options{Path: path})
	if err != nil {
		return err
	}
	if inFile := holds(left, good+1) == nil; inFile != (which == "2") {
		return fmt.Errorf("sync %s failed, and that the write is in the file is %v", which, inFile)
	}
	return errors.Join(left.Close(), usable(path, good))
}

// acknowledgedIsDurable takes what the file was when its last fsync began for
// what a power cut leaves of it, and looks there for each acknowledged write.
func acknowledgedIsDurable(path, mode string) error {
	image := path + ".image"
	folderSynced := false
	var mu sync.Mutex
	if err := superviseSyncs(func(_ uint32, fd int) syscall.Errno {
		mu.Lock()
		defer mu.Unlock()
		_, err := os.Lstat(path)
		switch name, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); {
		case err == nil && name == filepath.Dir(path):
			folderSynced = true
		case name == path:
			if b, err := os.ReadFile(path); err != nil || os.WriteFile(image, b, 0o600) != nil {
				return syscall.EIO
			}
		}
		return 0
	}); err != nil {
		unable(err)
	}
	if err := Create(path); err != nil {
		return err
	}
	mu.Lock()
	synced := folderSynced
	mu.Unlock()
	if !synced {
		return errors.New("the folder of a new store is not synced")
	}
	s, err := Open(Options{Path: path, Exclusive: mode == "exclusive", NoSync: mode == "nosync"})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for g := range 3 {
		go func() {
			for i := range 15 {
				key := fmt.Appendf(nil, "k/%d/%d", g, i)
				if err := s.Update(background, func(w store.Writer) error { return w.Put(key, make([]byte, 2000)) }); err != nil {
					failed <- err
					return
				}
				mu.Lock()
				err := inImage(image, key)
				mu.Unlock()
				if err != nil {
					failed <- fmt.Errorf("lost: %s: %w", key, err)
					return
				}
			}
			failed <- nil
		}()
	}
	return errors.Join(<-failed, <-failed, <-failed, s.Close())
}

func inImage(image string, key []byte) error {
	s, err := Open(Options{Path: image})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.View(background, func(r store.Reader) error { _, err := r.Get(key); return err })
}

func TestFileTooBig(t *testing.T) {
	eachMode(t, func(t *testing.T, exclusive bool) { passes(t, "big", newPath(t), mode(exclusive), nil) })
}

func TestDiskFull(t *testing.T) {
	own := &syscall.SysProcAttr{ // whose mounts nobody else sees
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	eachMode(t, func(t *testing.T, exclusive bool) { passes(t, "full", t.TempDir(), mode(exclusive), own) })
}

func TestSyncFails(t *testing.T) {
	eachMode(t, func(t *testing.T, exclusive bool) {
		passes(t, "eio", newPath(t), mode(exclusive)+" 1", nil)
		passes(t, "eio", newPath(t), mode(exclusive)+" 2", nil)
	})
}

func TestAcknowledgedIsDurable(t *testing.T) {
	file := func() string { return filepath.Join(t.TempDir(), "tokens.db") }
	passes(t, "durable", file(), "shared", nil)
	passes(t, "durable", file(), "exclusive", nil)
	if out, err := runChild(t, "durable", file(), "nosync", nil); err == nil || !strings.Contains(out, "lost: ") {
		t.Errorf("without any fsync the test says %v: %s", err, out)
	}
}

func mode(exclusive bool) string {
	if exclusive {
		return "exclusive"
	}
	return "shared"
}
