package cmd

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// openLocal opens the local file and its key file, and makes them on first
// use. The lock is taken for single transactions only, never across a prompt
// or the writing of an answer.
func openLocal(a *app, create bool) (authority.Service, func() error, error) {
	path, err := storePath(a.settings.Store())
	if err != nil {
		return nil, nil, err
	}
	keys, err := openFiles(path, create)
	if err != nil {
		return nil, nil, err
	}
	s, err := bolt.Open(bolt.Options{Path: path, LockTimeout: a.settings.Timeout()})
	if errors.Is(err, fs.ErrNotExist) { // a link to nowhere, or gone since we looked
		return nil, nil, token.Errorf(token.ErrCannotTell, "the store cannot be reached: %w", err).WithHint("put it back, or remove what is left of it to begin anew")
	}
	if err != nil {
		return nil, nil, err
	}
	name, via := systemUser()
	owner, err := token.NewOwner(token.LocalRealm, name)
	if err != nil {
		return nil, nil, err
	}
	local := authority.New(authority.Options{Store: s, Keys: keys, Warn: a.warn})
	end := func() error {
		if local.Wrote() {
			// Nobody else looks after a local file. What is left is for next time.
			if _, err := local.Maintain(context.Background()); err != nil {
				a.warn(err)
			}
		}
		return s.Close()
	}
	return local.As(authority.Caller{Owner: owner, Via: via, FileOwner: true}), end, nil
}

// openFiles opens the key file of a store, and makes both where neither is
// there. The key file comes first: a store without one is lost, a key file
// without a store is not.
func openFiles(path string, create bool) (*keyfile.Keys, error) {
	keyPath := keyFilePath(path)
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		keys, err := keyfile.Open(keyPath)
		return keys, keyError(err)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, token.Errorf(token.ErrCannotTell, "the store cannot be reached: %w", err)
	case !create:
		return nil, token.Errorf(token.ErrCannotTell, "there is no store at %s", path).WithHint("the first tokenctl generate makes it; --store names another place")
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
	dir := os.Getenv("XDG_DATA_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", token.Errorf(token.ErrUsage, "there is no home folder: %w", err).WithHint("set HOME, or name the file: --store bolt:///path/tokens.db")
		}
		dir = filepath.Join(home, ".local", "share")
	}
	if !filepath.IsAbs(dir) {
		return "", token.Errorf(token.ErrUsage, "XDG_DATA_HOME %q is not an absolute path", dir)
	}
	return filepath.Join(dir, "tokenctl", "tokens.db"), nil
}
