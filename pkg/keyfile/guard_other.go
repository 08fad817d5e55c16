//go:build !unix

package keyfile

import (
	"os"
	"path/filepath"
)

// follow returns where path leads to. Who may write which folder is said by
// access lists here, which the folder hands down and nobody but its owner sets.
func follow(path string) (string, error) { return filepath.EvalSymlinks(path) }

// openSafely opens the file at path if it is a regular one.
func openSafely(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &unsafeError{"it is not a regular file", "name the file itself"}
	}
	return os.Open(path)
}

// syncFolder does nothing: folders cannot be synced here.
func syncFolder(string) error { return nil }
