package wallet

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// savedToken is a refresh token that is kept for its user: its name where it was
// made, and that place.
type savedToken struct {
	Name  string `yaml:"name"`
	Place string `yaml:"place"` // the URL of a server or a store
	Token Ref    `yaml:"token"`
}

// saved is the file saved.yaml.
type saved struct {
	List []savedToken `yaml:"tokens"`
}

func (s *saved) check() error {
	for i, t := range s.List {
		if err := token.CheckName("saved token", t.Name); err != nil {
			return err
		}
		if s.find(t.Place, t.Name) != i {
			return token.Errorf(token.ErrUsage, "there are two saved tokens %q of %s", t.Name, t.Place)
		}
		if err := t.Token.check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *saved) find(place, name string) int {
	return slices.IndexFunc(s.List, func(t savedToken) bool { return t.Place == place && t.Name == name })
}

func errNotSaved(place, name string) *token.Error {
	return token.Errorf(token.ErrNotFound, "no refresh token %q of %s is saved here", name, place).
		WithHint("tokenctl generate refresh %s --save makes one", name)
}

// Save keeps a refresh token under its name and the place where it was made, in
// the place of one that is kept already: whoever reads meanwhile has the old one
// or the new one. With was, which Saved gave, it does so only if that is still
// the one that is kept: another process may have been here with a newer one.
func (w *Wallet) Save(ctx context.Context, place, name string, s secret.Secret, was Ref) error {
	if err := token.CheckName("saved token", name); err != nil {
		return err
	}
	fresh, err := w.vault.put(ctx, s)
	if err != nil {
		return err
	}
	var all saved
	unused := fresh
	err = w.saved.change(ctx, &all, func() error {
		switch i := all.find(place, name); {
		case i < 0 && was != "": // it was removed meanwhile, and stays so
			unused = fresh
		case i < 0:
			unused = ""
			all.List = append(all.List, savedToken{Name: name, Place: place, Token: fresh})
		case was != "" && all.List[i].Token != was:
			unused = fresh
		default:
			unused, all.List[i].Token = all.List[i].Token, fresh
		}
		return nil
	})
	if err != nil {
		unused = fresh
	}
	// Nothing names it. One that lies in a keyring out of reach stays there.
	_ = w.vault.drop(context.WithoutCancel(ctx), unused)
	return err
}

// CanSave says why Save could not put another refresh token in the place of one
// that Saved gave, as far as that can be known before: it does all that Save does
// but the last step, and needs no keyring, which has just answered.
func (w *Wallet) CanSave(ctx context.Context, was Ref) error {
	if was.Place() == InFile {
		if err := w.vault.file.try(ctx, &kept{}); err != nil {
			return err
		}
	}
	return w.saved.try(ctx, &saved{})
}

// Saved returns the refresh token of a name, and where it lies; token.ErrNotFound
// if there is none. One that is gone may have been replaced since the list was
// read: then the list says another.
func (w *Wallet) Saved(ctx context.Context, place, name string) (secret.Secret, Ref, error) {
	for before := Ref(""); ; {
		at, err := w.savedAt(place, name)
		if err != nil {
			return secret.Secret{}, "", err
		}
		s, err := w.vault.get(ctx, at)
		switch {
		case err == nil:
			return s, at, nil
		case errors.Is(err, errGone) && at == before:
			return s, at, token.Errorf(token.ErrNotFound, "the saved refresh token %q: %w", name, err).
				WithHint("tokenctl saved remove %s forgets it; tokenctl generate refresh %s --save makes another", name, name)
		case !errors.Is(err, errGone):
			return s, at, token.Errorf(token.ErrCannotTell, "the saved refresh token %q: %w", name, err)
		}
		before = at
	}
}

// savedAt is where the refresh token of a name lies.
func (w *Wallet) savedAt(place, name string) (Ref, error) {
	var all saved
	if err := w.saved.read(&all); err != nil {
		return "", err
	}
	i := all.find(place, name)
	if i < 0 {
		return "", errNotSaved(place, name)
	}
	return all.List[i].Token, nil
}

// SavedToken is a refresh token that is kept: under which name, and where.
type SavedToken struct {
	Name  string
	Place string // the URL of the server, or of the store, where it was made
	Token Ref
}

// AllSaved returns the refresh tokens that are kept, of all places, by name.
func (w *Wallet) AllSaved() (list []SavedToken, err error) {
	var all saved
	if err := w.saved.read(&all); err != nil {
		return nil, err
	}
	for _, t := range all.List {
		list = append(list, SavedToken(t))
	}
	slices.SortFunc(list, func(a, b SavedToken) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Place, b.Place))
	})
	return list, nil
}

// Forget removes a refresh token from what is kept, which goes on working;
// token.ErrNotFound if none is kept under that name. One in a keyring that does
// not answer is a token.ErrCannotTell, and nothing was removed.
func (w *Wallet) Forget(ctx context.Context, place, name string) error {
	var all saved
	return w.saved.change(ctx, &all, func() error {
		i := all.find(place, name)
		if i < 0 {
			return errNotSaved(place, name).WithHint("tokenctl saved list shows what is kept, and where it was made")
		}
		if err := w.vault.drop(ctx, all.List[i].Token); err != nil {
			return err
		}
		all.List = slices.Delete(all.List, i, i+1)
		return nil
	})
}
