// Package list is a directory in a plain file, for those who have no LDAP
// server: a name on each line, comments after #. It knows no passwords, groups
// or unchanging ids.
package list

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Options say where a list is.
type Options struct {
	Realm string
	// File has a name on each line. A # at the beginning of a line or after
	// white space begins a comment. Every line ends, the last one too: a file
	// that was cut off names fewer people than there are, and would make
	// orphans of the rest.
	File   string
	Canary string // a name that is always in the file; may be empty
}

// maxSize bounds a list, in bytes: a million names of 60.
const maxSize = 64 << 20

// settled is how old a file must be so that its time tells one version from the
// next: some file systems count in steps of two seconds.
const settled = 3 * time.Second

// Directory is a list. It is read again whenever the file has changed.
type Directory struct {
	realm, file string
	canary      token.Owner

	mu    sync.Mutex
	names []string // canonical, sorted
	info  fs.FileInfo
	asOf  time.Time // when info was taken
}

var _ directory.Directory = (*Directory)(nil)

// New makes a directory of a list, which is not yet read.
func New(o Options) (*Directory, error) {
	d := &Directory{realm: o.Realm, file: o.File}
	if _, err := directory.Fold(o.Realm, "x"); err != nil {
		return nil, err
	}
	if o.File == "" {
		return nil, token.Errorf(token.ErrUsage, "the directory %s needs a file", o.Realm)
	}
	if o.Canary != "" {
		var err error
		if d.canary, err = d.Canonical(o.Canary); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Realm is the realm of the names in the list.
func (d *Directory) Realm() string { return d.realm }

// Canonical is [directory.Fold].
func (d *Directory) Canonical(name string) (token.Owner, error) {
	return directory.Fold(d.realm, name)
}

// Canary is the name that is always in the file.
func (d *Directory) Canary() token.Owner { return d.canary }

// Close does nothing: no file stays open.
func (d *Directory) Close() error { return nil }

// Presence looks the owners up in the file as it is now.
func (d *Directory) Presence(ctx context.Context, owners []token.Owner) ([]directory.Verdict, error) {
	if err := ctx.Err(); err != nil {
		return nil, token.Errorf(token.ErrCannotTell, "the directory %s was not asked: %w", d.realm, err)
	}
	names, err := d.read()
	if err != nil {
		return nil, err
	}
	verdicts := make([]directory.Verdict, len(owners))
	for i, o := range owners {
		v := &verdicts[i]
		v.Owner = o
		if v.Why = directory.Doubt(d, o); v.Why != "" {
			continue
		}
		if _, found := slices.BinarySearch(names, o.Name); found {
			v.State = directory.Present
		} else {
			v.State, v.Why = directory.Absent, "not in "+d.file
		}
	}
	return verdicts, nil
}

// Lookup is Presence of one owner: a list has no groups.
func (d *Directory) Lookup(ctx context.Context, owner token.Owner) (directory.Verdict, error) {
	verdicts, err := d.Presence(ctx, []token.Owner{owner})
	if err != nil {
		return directory.Verdict{}, err
	}
	return verdicts[0], nil
}

// Authenticate refuses everybody: a list has no passwords.
func (d *Directory) Authenticate(context.Context, string, secret.Secret) (directory.Identity, error) {
	return directory.Identity{}, token.Errorf(token.ErrRefused, "the directory %s is a list of names and knows no passwords", d.realm)
}

// read returns the names in the file, sorted. What it returned before is never
// changed.
func (d *Directory) read() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	info, err := os.Stat(d.file)
	if err != nil {
		return nil, d.unreadable("%w", err)
	}
	if d.info != nil && same(info, d.info) && d.asOf.Sub(info.ModTime()) > settled {
		return d.names, nil
	}
	if !info.Mode().IsRegular() { // before opening, which waits for who writes a pipe
		return nil, d.unreadable("it is not a regular file")
	}
	text, err := load(d.file, info)
	if err != nil {
		return nil, d.unreadable("%w", err)
	}
	names, err := d.parse(text)
	if err != nil {
		return nil, err
	}
	d.names, d.info, d.asOf = names, info, now
	return names, nil
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// load reads the file that info describes, whole and unchanged meanwhile.
func load(path string, info fs.FileInfo) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	after, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !same(info, after) || int64(len(text)) != info.Size() && len(text) <= maxSize:
		return nil, token.Errorf(token.ErrCannotTell, "it is being written just now")
	}
	return text, nil
}

// parse takes the file to be damaged rather than guess: a line that it passed
// over could be somebody.
func (d *Directory) parse(text []byte) ([]string, error) {
	switch {
	case len(text) > maxSize:
		return nil, d.unreadable("it is larger than %d MiB", maxSize>>20)
	case len(text) > 0 && text[len(text)-1] != '\n':
		return nil, d.unreadable("its last line does not end, as if it were cut off")
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	var names []string
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		name := strings.TrimSpace(line)
		for i := range name {
			if name[i] == '#' && (i == 0 || name[i-1] == ' ' || name[i-1] == '\t') {
				name = strings.TrimSpace(name[:i])
				break
			}
		}
		if name == "" {
			continue
		}
		o, err := d.Canonical(name)
		if err != nil {
			return nil, d.unreadable("line %d: %v", number, err)
		}
		names = append(names, o.Name)
	}
	if len(names) == 0 {
		return nil, d.unreadable("it names nobody")
	}
	slices.Sort(names)
	if _, found := slices.BinarySearch(names, d.canary.Name); !found && !d.canary.IsZero() {
		return nil, token.Errorf(token.ErrCannotTell, "the canary %s is not in %s", d.canary, d.file).
			WithHint("it should always be: the file is another one, or a part of it")
	}
	return slices.Compact(names), nil
}

// unreadable is the error about the file; its kind is CannotTell whatever the
// cause is.
func (d *Directory) unreadable(format string, args ...any) error {
	err := token.Errorf(token.ErrCannotTell, format, args...)
	err.Message = "the list of the directory " + d.realm + ", " + d.file + ", cannot be used: " + err.Message
	return err
}
