package privatefile_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/privatefile"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// has checks what is in a folder, by name and text.
func has(t *testing.T, folder string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	must(t, err)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		must(t, err)
		if w, ok := want[e.Name()]; !ok || w != string(text) {
			t.Errorf("%s has %q, want %q (%t)", e.Name(), text, w, ok)
		}
	}
	if len(entries) != len(want) {
		t.Errorf("%d files, want %d", len(entries), len(want))
	}
}

func begin(t *testing.T, path string) *privatefile.Change {
	t.Helper()
	c, err := privatefile.Begin(t.Context(), path)
	must(t, err)
	t.Cleanup(c.End)
	return c
}

func TestChange(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "keys")
	for _, text := range []string{"one", "two"} { // of one that was not there, and of one that was
		c := begin(t, path)
		must(t, c.Write([]byte(text)))
		must(t, c.Publish())
		c.End()
	}
	c := begin(t, path)
	must(t, c.Write([]byte("three")))
	c.End()
	has(t, folder, map[string]string{"keys": "two"})
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestChangesOneByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	first := begin(t, path)
	locked := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := privatefile.Begin(ctx, path)
		var by *privatefile.LockedError
		if !errors.As(err, &by) || by.Lock != path+".lock" {
			t.Errorf("while another is under way: %v", err)
		}
	}
	locked()
	second := make(chan *privatefile.Change)
	go func() {
		c, err := privatefile.Begin(context.Background(), path)
		if err != nil {
			t.Error(err)
		}
		second <- c
	}()
	select {
	case <-second:
		t.Error("two at once")
	case <-time.After(50 * time.Millisecond):
	}
	first.End()
	c := <-second // which has waited for a lock that is removed
	locked()
	c.End()
}

// Somebody removes the lock of a process that is only slow, and another takes it:
// the first must neither publish nor remove what is the other's.
func TestLostLock(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "keys")
	first := begin(t, path)
	must(t, first.Write([]byte("of the first")))
	must(t, os.Remove(path+".lock"))
	second := begin(t, path)
	must(t, second.Write([]byte("of the second")))
	if err := first.Publish(); err == nil || !strings.Contains(err.Error(), "somebody has removed") {
		t.Errorf("published without the lock: %v", err)
	}
	first.End()
	has(t, folder, map[string]string{"keys.lock": "", "keys.new": "of the second"})
	must(t, second.Publish())
	second.End()
	has(t, folder, map[string]string{"keys": "of the second"})
}

func TestCreate(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "secret")
	text := func(w io.Writer) error {
		_, err := io.WriteString(w, "text")
		return err
	}
	must(t, privatefile.Create(path, text))
	if err := privatefile.Create(path, text); !errors.Is(err, fs.ErrExist) {
		t.Errorf("once more: %v", err)
	}
	broken := errors.New("broken")
	if err := privatefile.Create(path+"2", func(w io.Writer) error { return errors.Join(text(w), broken) }); !errors.Is(err, broken) {
		t.Errorf("half of it: %v", err)
	}
	has(t, folder, map[string]string{"secret": "text"})
}

func TestReplace(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "secret")
	for _, text := range []string{"one", "two"} {
		must(t, privatefile.Replace(path, []byte(text)))
		has(t, folder, map[string]string{"secret": text})
	}
	must(t, os.Remove(path))
	must(t, os.Mkdir(path, 0o700))
	if err := privatefile.Replace(path, []byte("three")); err == nil {
		t.Error("a folder was replaced")
	}
	if err := privatefile.Replace(filepath.Join(folder, "none", "x"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no folder: %v", err)
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestMakeFolders(t *testing.T) {
	at := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		must(t, privatefile.MakeFolders(at))
	}
	for _, made := range []string{at, filepath.Dir(at)} {
		if info, err := os.Stat(made); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", made, info.Mode(), err)
		}
	}
	file := filepath.Join(at, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if err := privatefile.MakeFolders(filepath.Join(file, "c")); err == nil {
		t.Error("a folder in a file")
	}
}
