package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/idp"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// creation says when a store that is not there may be made.
type creation int

const (
	createNever  creation = iota // asking about a credential: nobody can tell
	createFresh                  // looking at and ending tokens: only where nothing is left of another
	createAlways                 // adding to it
)

// openLocal opens the tokens of this machine: through a tokenctl serve that
// holds their file, else the file itself. One that is just starting or ending
// has the file and does not answer, or not any more: both are tried in turn as
// long as the settings say.
func openLocal(ctx context.Context, a *app, may creation) (authority.Service, func() error, error) {
	path, err := storePath(a.settings.Store())
	if err != nil {
		return nil, nil, err
	}
	for until := time.Now().Add(a.settings.Timeout()); ; {
		if h := findHolder(ctx, path); h != nil {
			return openServed(a, h, path)
		}
		s, end, err := openFile(a, path, may, min(a.settings.Timeout(), time.Second/4))
		if !errors.Is(err, bolt.ErrBusy) || ctx.Err() != nil || time.Now().After(until) {
			return s, end, withBusyHint(err)
		}
	}
}

// openServed is a Service through the local socket of whoever holds the file.
func openServed(a *app, h *holder, path string) (authority.Service, func() error, error) {
	c, err := httpapi.NewClient(httpapi.ClientOptions{
		Dial: h.dial, Timeout: a.settings.RequestTimeout(), UserAgent: "tokenctl/" + version().Version,
		Where: fmt.Sprintf("%v, which holds %s", h, path),
	})
	if err != nil {
		h.close()
		return nil, nil, err
	}
	return c, func() error { h.close(); return c.Close() }, nil
}

// withBusyHint adds what to do about a file that somebody else holds.
func withBusyHint(err error) error {
	var e *token.Error
	if errors.Is(err, bolt.ErrBusy) && errors.As(err, &e) {
		return e.WithHint(busyHint)
	}
	return err
}

// openFile opens the local file and its key file, and makes them on first use.
// The lock is waited for as long as is said, and taken for single transactions
// only, never across a prompt or the writing of an answer.
func openFile(a *app, path string, may creation, wait time.Duration) (authority.Service, func() error, error) {
	keys, err := openFiles(path, may)
	if err != nil {
		return nil, nil, err
	}
	s, err := bolt.Open(bolt.Options{Path: path, LockTimeout: a.settings.Timeout(), OpenTimeout: wait})
	if errors.Is(err, fs.ErrNotExist) { // a link to nowhere, or gone since we looked
		return nil, nil, token.Errorf(token.ErrCannotTell, "the store cannot be reached: %w", err).WithHint("put it back, or remove what is left of it to begin anew")
	}
	if err != nil {
		return nil, nil, err
	}
	caller, err := fileOwner(systemUser())
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	dirs, err := a.directoriesOrNot()
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	hasher := secret.NewHasher(keys.Hashing(), secret.HasherOptions{})
	provisioners, unusable, err := a.provisioners(dirs, hasher.Encode)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	if unusable != nil { // a service that has it says so
		a.warn(unusable)
	}
	local := authority.New(authority.Options{
		Federation: idp.New(idp.Options{}),
		Store:      s, Keys: keys, Owner: caller, Warn: a.warn, Hasher: hasher, Directories: dirs, Provisioners: provisioners, Realms: a.settings.realms(),
	})
	a.held = &heldFile{store: s, rules: local, caller: caller}
	end := func() error {
		if local.Wrote() && len(provisioners) > 0 {
			a.deliverDue(local)
		}
		if local.Wrote() {
			// Nobody else looks after a local file. What is left after a moment
			// is for next time.
			ctx, cancel := context.WithTimeout(context.Background(), time.Second/2)
			defer cancel()
			if _, err := local.Maintain(ctx); err != nil && ctx.Err() == nil {
				a.warn(err)
			}
		}
		return s.Close()
	}
	return local.As(caller), end, nil
}

// holdFile opens the file for this process alone, until the store is closed.
func holdFile(a *app, path string, warn func(error)) (*bolt.Store, *authority.Local, error) {
	caller, err := fileOwner(systemUser())
	if err != nil {
		return nil, nil, err
	}
	keys, err := openFiles(path, createAlways)
	if err != nil {
		return nil, nil, err
	}
	s, err := bolt.Open(bolt.Options{Path: path, Exclusive: true, LockTimeout: a.settings.Timeout()})
	if err != nil {
		return nil, nil, withBusyHint(err)
	}
	dirs, err := a.directories()
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	hasher := secret.NewHasher(keys.Hashing(), secret.HasherOptions{})
	provisioners, unusable, err := a.provisioners(dirs, hasher.Encode)
	if err = errors.Join(err, unusable); err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, authority.New(authority.Options{
		Federation: idp.New(idp.Options{}),
		Store:      s, Keys: keys, Owner: caller, Serving: true, Warn: warn, Hasher: hasher, Directories: dirs, Provisioners: provisioners, Realms: a.settings.realms(),
	}), nil
}

// fileOwner is a user of the system who may open the file.
func fileOwner(name, via string) (authority.Caller, error) {
	owner, err := token.NewOwner(token.LocalRealm, name)
	return authority.Caller{Owner: owner, Via: via, FileOwner: true}, err
}

// openFiles opens the key file of a store, and makes both where neither is
// there. The key file comes first: a store without one is lost, a key file
// without a store is not.
func openFiles(path string, may creation) (*keyfile.Keys, error) {
	keyPath := keyFilePath(path)
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		keys, err := keyfile.Open(keyPath)
		return keys, keyError(err)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, token.Errorf(token.ErrCannotTell, "the store cannot be reached: %w", err)
	case may == createNever:
		return nil, token.Errorf(token.ErrCannotTell, "there is no store at %s", path).WithHint("the first tokenctl generate makes it; --store names another place")
	case may == createFresh:
		// A key file without its store says that there was one, unless somebody
		// is making both at this moment.
		if _, err := os.Lstat(keyPath); !errors.Is(err, fs.ErrNotExist) {
			for range 20 {
				time.Sleep(25 * time.Millisecond)
				if _, err := os.Lstat(path); err == nil {
					return openFiles(path, createNever)
				}
			}
			return nil, token.Errorf(token.ErrCannotTell, "there is no store at %s, but its key file %s is there", path, keyPath).
				WithHint("put the store back; or tokenctl generate begins a new one")
		}
	}
	keys, err := keyfile.Create(keyPath, time.Now())
	if err != nil {
		return nil, keyError(err)
	}
	return keys, bolt.Create(path)
}

// keyFilePath is the key file beside a store: tokens.db has tokens.key.
func keyFilePath(store string) string {
	return store[:len(store)-len(filepath.Ext(store))] + ".key"
}

// keyError tells what the key file's error says as one of ours, its hint apart.
func keyError(err error) error {
	if err == nil {
		return nil
	}
	told := &token.Error{Kind: token.ErrCannotTell, Message: err.Error(), Cause: err}
	var e *keyfile.Error
	if errors.As(err, &e) {
		told.Message, told.Hint = strings.TrimSuffix(told.Message, "; "+e.Hint), e.Hint
	}
	return told
}

// storePath reads the setting store; nothing set is the file in the user's
// data folder.
func storePath(setting string) (string, error) {
	if setting == "" {
		return defaultStorePath()
	}
	u, err := url.Parse(setting)
	if err != nil || strings.ContainsRune(u.Path, 0) || u.Scheme != "bolt" || u.Host != "" || u.RawQuery != "" || u.Fragment != "" || !filepath.IsAbs(filepath.FromSlash(u.Path)) {
		return "", token.Errorf(token.ErrUsage, "store %q is not bolt:///an/absolute/path.db", setting)
	}
	path := filepath.Clean(filepath.FromSlash(u.Path))
	if filepath.Ext(path) == ".key" {
		return "", token.Errorf(token.ErrUsage, "store %q has the name of a key file", setting)
	}
	return path, nil
}

func defaultStorePath() (string, error) {
	dir, from := os.Getenv("XDG_DATA_HOME"), "XDG_DATA_HOME"
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", token.Errorf(token.ErrUsage, "there is no home folder: %w", err).WithHint("set HOME, or name the file: --store bolt:///path/tokens.db")
		}
		dir, from = filepath.Join(home, ".local", "share"), "the home folder's"
	}
	if !filepath.IsAbs(dir) {
		return "", token.Errorf(token.ErrUsage, "%s %q is not an absolute path", from, dir)
	}
	return filepath.Join(dir, "tokenctl", "tokens.db"), nil
}
