package ldap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tokenctl/tokenctl/pkg/privatefile"
	"github.com/tokenctl/tokenctl/pkg/secret"
)

// maxPassword bounds the file of a password, in bytes.
const maxPassword = 4096

// readPassword reads a password from a file that only we can read. One line
// break at its end is not part of it.
func readPassword(path string) (none secret.Secret, err error) {
	// Whoever can exchange a link gets nothing by it but a failed bind, and the
	// volume of a secret in Kubernetes is one of links in a folder for all.
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return none, err
	}
	f, err := privatefile.Open(real, os.O_RDONLY)
	if err != nil {
		return none, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return none, err
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	switch {
	case len(text) == 0:
		return none, fmt.Errorf("%s is empty", path)
	case len(text) > maxPassword:
		return none, fmt.Errorf("%s is longer than %d bytes", path, maxPassword)
	case bytes.ContainsAny(text, "\r\n\x00"):
		return none, errors.New(path + " holds more than one line")
	}
	return secret.FromText(string(text)), nil
}
