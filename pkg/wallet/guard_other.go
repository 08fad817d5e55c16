//go:build !unix

package wallet

import (
	"os"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// openSafely opens a file for reading if it is a regular one. Who may read it is
// said by access lists here, which the home folder hands down.
func openSafely(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, token.Errorf(token.ErrUsage, "%s is not a regular file", path)
	}
	return os.Open(path)
}

// openLock opens the file that is there to be locked, and makes it if need be.
func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// guardFolder does nothing, for the same reason.
func guardFolder(string) error { return nil }

// syncFolder does nothing: folders cannot be synced here.
func syncFolder(string) error { return nil }
