package wallet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tokenctl/tokenctl/pkg/privatefile"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// document is a YAML file that nobody but its owner can read, and that is
// replaced as a whole.
type document struct {
	path   string
	secret bool // errors must not tell what is in it
}

// content is what a document holds.
type content interface{ check() error }

// maxSize is far more than any number of contexts needs, in bytes.
const maxSize = 1 << 20

// open opens the file, if nobody else can read or replace it.
func (d document) open() (*os.File, error) {
	path, err := privatefile.Resolve(d.path)
	if err == nil {
		err = checkFolder(filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	return privatefile.Open(path, os.O_RDONLY)
}

// read fills c with what is in the file. Nothing is as good as no file.
func (d document) read(c content) error {
	f, err := d.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var data []byte
	if err == nil {
		defer f.Close()
		data, err = io.ReadAll(io.LimitReader(f, maxSize+1))
	}
	switch {
	case unsafeError(err) != nil:
		return unsafeError(err)
	case err != nil:
		return token.Errorf(token.ErrCannotTell, "%s cannot be read: %w", d.path, err)
	case len(data) > maxSize:
		return token.Errorf(token.ErrUsage, "%s has over %d bytes", d.path, maxSize)
	}
	return d.parse(data, c)
}

// parse is strict: what it does not know would be lost with the next change.
func (d document) parse(data []byte, c content) error {
	in := yaml.NewDecoder(bytes.NewReader(data))
	in.KnownFields(true)
	err := in.Decode(c)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		if err = in.Decode(new(any)); errors.Is(err, io.EOF) {
			err = c.check()
		} else {
			err = errors.New("it is more than one document")
		}
	}
	if err == nil {
		return nil
	}
	what := "it cannot be understood"
	if line := lineNumber.FindString(err.Error()); line != "" {
		what += ": " + line
	}
	if !d.secret {
		what = err.Error()
	}
	return token.Errorf(token.ErrUsage, "%s: %s", d.path, what).WithHint("mend it, or move it away")
}

// lineNumber is what of an error of YAML holds nothing of the text.
var lineNumber = regexp.MustCompile(`line [0-9]+`)

// change reads the file into c, lets fn change that, and replaces the file.
// Whatever others have written before stays; if fn fails, so does all else.
func (d document) change(ctx context.Context, c content, fn func() error) error {
	u, err := d.begin(ctx, c, fn)
	if err != nil {
		return err
	}
	defer u.End()
	err = u.Publish()
	var late *privatefile.NotDurableError
	if errors.As(err, &late) {
		return token.Errorf(token.ErrCannotTell, "%s: %w", d.path, err)
	}
	if err != nil {
		return d.notWritten(err)
	}
	return nil
}

// try does all of a change but the replacing of the file. What it runs into, a
// change would have run into as well.
func (d document) try(ctx context.Context, c content) error {
	u, err := d.begin(ctx, c, func() error { return nil })
	if err == nil {
		u.End()
	}
	return err
}

// lockTimeout is how long a change waits for those of other processes, which
// take some milliseconds each.
const lockTimeout = 5 * time.Second

// begin prepares a change, which keeps other changes out until it ends.
func (d document) begin(ctx context.Context, c content, fn func() error) (*privatefile.Change, error) {
	path, err := d.real()
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	u, err := privatefile.Begin(waiting, path)
	var locked *privatefile.LockedError
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &locked):
		return nil, token.Errorf(token.ErrCannotTell, "%s is being changed: %w", d.path, err).
			WithHint("no lock outlives its process: see which tokenctl is at work, and try again when it has ended")
	case err != nil:
		return nil, d.notWritten(err)
	}
	if err := d.prepare(u, c, fn); err != nil {
		u.End()
		return nil, err
	}
	return u, nil
}

func (d document) prepare(u *privatefile.Change, c content, fn func() error) error {
	if err := d.read(c); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	var text bytes.Buffer
	out := yaml.NewEncoder(&text)
	out.SetIndent(2)
	if err := errors.Join(out.Encode(c), out.Close()); err != nil {
		return d.notWritten(err)
	}
	if text.Len() > maxSize {
		return token.Errorf(token.ErrUsage, "%s would have over %d bytes", d.path, maxSize).WithHint("remove something first")
	}
	if err := u.Write(text.Bytes()); err != nil {
		return d.notWritten(err)
	}
	return nil
}

// real is where the file is, behind symbolic links, in a folder that is made if
// need be.
func (d document) real() (string, error) {
	folder := filepath.Dir(d.path)
	if err := privatefile.MakeFolders(folder); err != nil {
		return "", d.notWritten(err)
	}
	path, err := privatefile.Resolve(d.path)
	if errors.Is(err, fs.ErrNotExist) && !isLink(d.path) { // a link to nothing stays
		if folder, err = privatefile.Resolve(folder); err == nil {
			path = filepath.Join(folder, filepath.Base(d.path))
		}
	}
	if err == nil {
		err = checkFolder(filepath.Dir(path))
	}
	if err != nil {
		return "", d.notWritten(err)
	}
	return path, nil
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

func checkFolder(folder string) error {
	err := privatefile.CheckFolder(folder)
	var unsafe *privatefile.Error
	if errors.As(err, &unsafe) {
		unsafe.Hint += ", or set XDG_CONFIG_HOME to another of your own"
	}
	return err
}

// notWritten is for a change that failed. What is not to be trusted has a hint of
// its own.
func (d document) notWritten(err error) error {
	if unsafe := unsafeError(err); unsafe != nil {
		return unsafe
	}
	return token.Errorf(token.ErrCannotTell, "%s was not written: %w", d.path, err).
		WithHint("see that the folder can be written, the disk is not full, and the file system knows locks")
}

// unsafeError is the error for what others can get at; nil: err is none.
func unsafeError(err error) error {
	var unsafe *privatefile.Error
	if errors.As(err, &unsafe) {
		return token.Errorf(token.ErrUsage, "%s: %s", unsafe.Path, unsafe.Reason).WithHint("%s", unsafe.Hint)
	}
	return nil
}
