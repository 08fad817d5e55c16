//go:build unix

package privatefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/privatefile"
	"github.com/tokenctl/tokenctl/testdata/needs"
)

// unsafe checks that an error names what is not to be trusted, and why.
func unsafe(t *testing.T, err error, path, reason string) {
	t.Helper()
	var e *privatefile.Error
	if !errors.As(err, &e) || e.Path != path || !strings.Contains(e.Reason, reason) || e.Hint == "" {
		t.Errorf("the error is %v, want one of %s: %s", err, path, reason)
	}
}

func TestOpen(t *testing.T) {
	folder := t.TempDir()
	path, pipe, link := filepath.Join(folder, "file"), filepath.Join(folder, "pipe"), filepath.Join(folder, "link")
	must(t, syscall.Mkfifo(pipe, 0o600))
	must(t, os.Symlink(path, link))
	for _, flag := range []int{os.O_RDONLY, os.O_RDWR | os.O_CREATE, os.O_RDONLY} {
		f, err := privatefile.Open(path, flag)
		if flag == os.O_RDONLY && f == nil && errors.Is(err, fs.ErrNotExist) {
			continue // the first time
		}
		must(t, err)
		if info, err := f.Stat(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		f.Close()
	}
	for _, flag := range []int{os.O_RDONLY, os.O_RDWR | os.O_CREATE} {
		for _, at := range []string{folder, pipe, link, os.DevNull} {
			_, err := privatefile.Open(at, flag)
			unsafe(t, err, at, "not a regular file")
		}
		for _, mode := range []fs.FileMode{0o640, 0o602, 0o601, 0o660} {
			must(t, os.Chmod(path, mode))
			_, err := privatefile.Open(path, flag)
			unsafe(t, err, path, "others can get at it")
		}
		for _, mode := range []fs.FileMode{0o600, 0o700} {
			must(t, os.Chmod(path, mode))
			f, err := privatefile.Open(path, flag)
			must(t, err)
			f.Close()
		}
	}
}

func TestFoldersOfOthers(t *testing.T) {
	folder := t.TempDir()
	for _, mode := range []fs.FileMode{0o700, 0o755, 0o500} {
		must(t, os.Chmod(folder, mode))
		must(t, privatefile.CheckFolder(folder))
	}
	for _, mode := range []fs.FileMode{0o770, 0o702, 0o777} {
		must(t, os.Chmod(folder, mode))
		unsafe(t, privatefile.CheckFolder(folder), folder, "others can replace")
	}
	must(t, os.Chmod(folder, 0o700))
	if os.Geteuid() != 0 {
		needs.Missing(t, "only root can give a folder away")
	}
	path := filepath.Join(folder, "file")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Symlink(path, filepath.Join(folder, "link")))
	link := filepath.Join(folder, "link")
	must(t, os.Chown(folder, 4711, -1))
	unsafe(t, privatefile.CheckFolder(folder), folder, "another user")
	_, err := privatefile.Resolve(link) // ours, where the folder's owner can replace it
	unsafe(t, err, link, "symbolic link")
	must(t, os.Chown(path, 4711, -1))
	_, err = privatefile.Open(path, os.O_RDONLY)
	unsafe(t, err, path, "another user")
}

func TestResolve(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	at := func(names ...string) string { return filepath.Join(append([]string{top}, names...)...) }
	for _, folder := range []string{"real", "ours", "open", "sticky"} {
		must(t, os.Mkdir(at(folder), 0o700))
	}
	must(t, os.WriteFile(at("real", "file"), nil, 0o600))
	for link, to := range map[string]string{
		"ours/absolute": at("real", "file"), "ours/relative": "../real/file", "ours/twice": "relative", "ours/folder": at("real"),
		"ours/loop": "loop", "ours/nowhere": "none", "open/link": at("real", "file"), "ours/through": "../open/link", "sticky/link": at("real", "file"),
	} {
		must(t, os.Symlink(to, at(link)))
	}
	must(t, errors.Join(os.Chmod(at("open"), 0o777), os.Chmod(at("sticky"), 0o777|fs.ModeSticky)))
	for _, path := range []string{"real/file", "ours/absolute", "ours/relative", "ours/twice", "ours/folder/file", "ours/./folder/../relative"} {
		if got, err := privatefile.Resolve(top + "/" + path); got != at("real", "file") || err != nil {
			t.Errorf("%s leads to %q, %v", path, got, err)
		}
	}
	for path, link := range map[string]string{"open/link": "open/link", "ours/through": "open/link", "sticky/link": "sticky/link"} {
		_, err := privatefile.Resolve(at(path))
		unsafe(t, err, at(link), "others can write")
	}
	if _, err := privatefile.Resolve(at("ours", "loop")); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
	if _, err := privatefile.Resolve(at("ours", "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("to nothing: %v", err)
	}
	t.Chdir(at("ours"))
	if got, err := privatefile.Resolve("twice"); got != at("real", "file") || err != nil {
		t.Errorf("from here it leads to %q, %v", got, err)
	}
}
