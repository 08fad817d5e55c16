package bolt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/needs"
)

func TestCreate(t *testing.T) {
	top := t.TempDir()
	path := filepath.Join(top, "a", "b", "tokens.db")
	must(t, Create(path))
	for name, want := range map[string]fs.FileMode{
		path:                    0o600,
		filepath.Dir(path):      0o700 | fs.ModeDir,
		filepath.Join(top, "a"): 0o700 | fs.ModeDir,
	} {
		info, err := os.Stat(name)
		must(t, err)
		if info.Mode() != want && modesCount {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
	if rest, err := os.ReadDir(filepath.Dir(path)); len(rest) != 1 || err != nil {
		t.Errorf("Create leaves %v, %v", rest, err)
	}
	s := open(t, Options{Path: path})
	must(t, write(s))
	before, err := readAll(s)
	must(t, err)
	must(t, Create(path)) // again
	if after, err := readAll(s); before != after || err != nil {
		t.Errorf("a second Create left %d of %d entries, %v", after, before, err)
	}
}

// TestCreateLeavesWhatIsThere, even if that is no store.
func TestCreateLeavesWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, Create(path))
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("Create has changed an empty file: %v, %v", info, err)
	}
}

// TestCreateTogether: many make the same store, and use it at once. Nobody
// sees half of one, and nobody's writes are lost.
func TestCreateTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "tokens.db")
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			for {
				s, err := Open(Options{Path: path, LockTimeout: 20e9})
				if errors.Is(err, fs.ErrNotExist) {
					if err := Create(path); err != nil {
						t.Error(err)
						return
					}
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				if err := s.Update(background, count); err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	group.Wait()
	expectCount(t, path, 10)
}

func TestCreateRefuses(t *testing.T) {
	if !modesCount {
		needs.Missing(t, "this system has no modes of files")
	}
	folder := t.TempDir()
	must(t, os.Chmod(folder, 0o777))
	path := filepath.Join(folder, "tokens.db")
	err := Create(path)
	if !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), "others can write") {
		t.Errorf("Create in an open folder returned %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if err := Create(filepath.Join(file, "tokens.db")); !errors.Is(err, token.ErrCannotTell) {
		t.Errorf("Create below a file returned %v", err)
	}
	if rest, err := os.ReadDir(folder); len(rest) != 0 || err != nil {
		t.Errorf("Create leaves %v, %v", rest, err)
	}
}
