// Package wallet keeps what a person's own machine remembers: the contexts in
// which they work, the credentials that go with them, and refresh tokens that
// they have saved. It does not know what a credential is good for, nor how a
// server is spoken to.
//
// Contexts stand in contexts.yaml. A credential is in the keyring of the
// operating system or, where none answers, in credentials.yaml beside it; each
// has a random name there, which the context mentions. So a credential is
// replaced in one moment, and one that was stored for a server goes to no other
// that takes over the name of its context.
package wallet

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Context is a server or a store to work with, under a name.
type Context struct {
	Name      string `yaml:"name"`
	Server    string `yaml:"server,omitempty"`              // URL
	Store     string `yaml:"store,omitempty"`               // URL; one of the two is there
	CAFile    string `yaml:"ca_file,omitempty"`             // what the server's certificate must come from, PEM
	PlainHTTP bool   `yaml:"insecure_plain_http,omitempty"` // the server may be spoken to without TLS
	Login     Ref    `yaml:"login,omitempty"`               // the credential for the server
}

// contexts is the file contexts.yaml.
type contexts struct {
	Current string    `yaml:"current,omitempty"`
	List    []Context `yaml:"contexts"`
}

// check refuses what no wallet has written.
func (c *contexts) check() error {
	for i := range c.List {
		if err := c.List[i].check(); err != nil {
			return err
		}
		if c.find(c.List[i].Name) != i {
			return token.Errorf(token.ErrUsage, "there are two contexts %q", c.List[i].Name)
		}
	}
	if c.Current != "" && c.find(c.Current) < 0 {
		return token.Errorf(token.ErrUsage, "the current context %q is none of the list", c.Current)
	}
	return nil
}

func (c *Context) check() error {
	if err := token.CheckName("context", c.Name); err != nil {
		return err
	}
	if (c.Server == "") == (c.Store == "") {
		return token.Errorf(token.ErrUsage, "the context %q needs a server or a store, one of the two", c.Name)
	}
	return c.Login.check()
}

func (c *contexts) find(name string) int {
	return slices.IndexFunc(c.List, func(x Context) bool { return x.Name == name })
}

// get finds a context that has to be there.
func (c *contexts) get(name string) (*Context, error) {
	i := c.find(name)
	if i < 0 {
		return nil, token.Errorf(token.ErrNotFound, "there is no context %q", name).WithHint("tokenctl context list shows them")
	}
	return &c.List[i], nil
}

// Options say where a wallet is.
type Options struct {
	Folder string // $XDG_CONFIG_HOME/tokenctl; it is made when there is something to keep
	// Note hears once that there is no keyring, when a credential is stored in
	// a file for that reason. Nil: nobody does.
	Note func(text string)
}

// Wallet is what is remembered. Any number of processes may use one folder, each
// with a Wallet for one goroutine.
type Wallet struct {
	contexts document
	saved    document
	vault    vault
}

// New makes a wallet. Nothing is read before something is asked for.
//
// A file that others can read or replace, that cannot be parsed, or that
// another process is changing all the time, is an error of every method.
func New(o Options) *Wallet {
	return &Wallet{
		contexts: document{path: filepath.Join(o.Folder, "contexts.yaml")},
		saved:    document{path: filepath.Join(o.Folder, "saved.yaml")},
		vault:    vault{file: document{path: filepath.Join(o.Folder, "credentials.yaml"), secret: true}, note: o.Note},
	}
}

// Contexts returns all contexts in the order of their adding, and the name of
// the current one, which is empty if there is none.
func (w *Wallet) Contexts() (list []Context, current string, err error) {
	var c contexts
	if err := w.contexts.read(&c); err != nil {
		return nil, "", err
	}
	return c.List, c.Current, nil
}

// Context returns the context of a name; token.ErrNotFound if there is none.
func (w *Wallet) Context(name string) (Context, error) {
	var c contexts
	if err := w.contexts.read(&c); err != nil {
		return Context{}, err
	}
	found, err := c.get(name)
	if err != nil {
		return Context{}, err
	}
	return *found, nil
}

// change replaces the contexts by what fn makes of them.
func (w *Wallet) change(ctx context.Context, fn func(*contexts) error) error {
	var c contexts
	return w.contexts.change(ctx, &c, func() error { return fn(&c) })
}

// Add adds a context, with its credential unless that is zero. The first one
// becomes the current one. A name that is taken is a token.ErrConflict.
func (w *Wallet) Add(ctx context.Context, c Context, login secret.Secret) (current bool, err error) {
	c.Login = ""
	if err := c.check(); err != nil {
		return false, err
	}
	if _, err := w.Context(c.Name); err == nil { // before the keyring asks for its password
		return false, errTaken(c.Name)
	}
	if c.Login, err = w.vault.put(ctx, login); err != nil {
		return false, err
	}
	err = w.change(ctx, func(all *contexts) error {
		if all.find(c.Name) >= 0 {
			return errTaken(c.Name)
		}
		if len(all.List) == 0 {
			all.Current = c.Name
		}
		all.List = append(all.List, c)
		current = all.Current == c.Name
		return nil
	})
	if err != nil {
		_ = w.vault.drop(context.WithoutCancel(ctx), c.Login) // nothing names it
	}
	return current, err
}

// Replace is [Wallet.Add] for a context that may be there already: whoever reads
// meanwhile has the old one or the new one, each with its own credential.
func (w *Wallet) Replace(ctx context.Context, c Context, login secret.Secret) (current bool, err error) {
	c.Login = ""
	if err := c.check(); err != nil {
		return false, err
	}
	if c.Login, err = w.vault.put(ctx, login); err != nil {
		return false, err
	}
	unused := c.Login
	err = w.change(ctx, func(all *contexts) error {
		unused = ""
		switch i := all.find(c.Name); {
		case i >= 0:
			unused, all.List[i] = all.List[i].Login, c
		default:
			if len(all.List) == 0 {
				all.Current = c.Name
			}
			all.List = append(all.List, c)
		}
		current = all.Current == c.Name
		return nil
	})
	if err != nil {
		unused = c.Login
	}
	// Nothing names it. One that lies in a keyring out of reach stays there.
	_ = w.vault.drop(context.WithoutCancel(ctx), unused)
	return current, err
}

func errTaken(name string) error {
	return token.Errorf(token.ErrConflict, "there is a context %q already", name).WithHint("--replace takes its place; tokenctl context remove %s removes it", name)
}

// Use makes a context the current one.
func (w *Wallet) Use(ctx context.Context, name string) error {
	return w.change(ctx, func(all *contexts) error {
		_, err := all.get(name)
		all.Current = name
		return err
	})
}

// Remove removes a context and, before that, its credential. Then none is the
// current one, if it was that. A credential in a keyring that does not answer
// is a token.ErrCannotTell, and nothing was removed.
func (w *Wallet) Remove(ctx context.Context, name string) error {
	c, err := w.Context(name)
	if err != nil {
		return err
	}
	if err := w.vault.drop(ctx, c.Login); err != nil {
		return err
	}
	return w.change(ctx, func(all *contexts) error {
		now, err := all.get(name)
		if err != nil {
			return err
		}
		if now.Login != c.Login {
			return token.Errorf(token.ErrConflict, "the context %q was changed meanwhile", name).WithHint("try again")
		}
		all.List = slices.DeleteFunc(all.List, func(x Context) bool { return x.Name == name })
		if all.Current == name {
			all.Current = ""
		}
		return nil
	})
}

// Credential returns the credential of a context, or zero if it has none. One
// that is gone may have been replaced since the context was read: then that says
// which it is now, unless it is another server's by now.
func (w *Wallet) Credential(ctx context.Context, c Context) (secret.Secret, error) {
	for {
		s, err := w.vault.get(ctx, c.Login)
		if err == nil {
			return s, nil
		}
		now, gone := w.Context(c.Name)
		if errors.Is(err, errGone) && gone == nil && now.Login != "" && now.Login != c.Login && now.sameServer(&c) {
			c = now
			continue
		}
		return secret.Secret{}, token.Errorf(token.ErrCannotTell, "the credential of the context %q: %w", c.Name, err).
			WithHint("TOKENCTL_TOKEN can have one; or remove the context and add it again")
	}
}

// sameServer reports whether two contexts are one but for their credentials.
func (c *Context) sameServer(other *Context) bool {
	was, is := *other, *c
	was.Login, is.Login = "", ""
	return was == is
}

// SetCredential gives a context another credential, or with zero none. Whoever
// reads meanwhile has the old one or the new one.
func (w *Wallet) SetCredential(ctx context.Context, name string, login secret.Secret) error {
	fresh, err := w.vault.put(ctx, login)
	if err != nil {
		return err
	}
	var old Ref
	err = w.change(ctx, func(all *contexts) error {
		c, err := all.get(name)
		if err == nil {
			old, c.Login = c.Login, fresh
		}
		return err
	})
	if err != nil {
		old = fresh
	}
	// Nothing names it. One that lies in a keyring out of reach stays there.
	_ = w.vault.drop(context.WithoutCancel(ctx), old)
	return err
}
