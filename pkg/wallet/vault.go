package wallet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Ref says where a secret lies: keyring:NAME or file:NAME. Empty: there is
// none. It is no secret itself.
type Ref string

// The places where secrets lie.
const (
	InKeyring = "keyring"
	InFile    = "file"
)

// Place is [InKeyring], [InFile] or empty.
func (r Ref) Place() string {
	place, _, _ := strings.Cut(string(r), ":")
	return place
}

func (r Ref) name() string {
	_, name, _ := strings.Cut(string(r), ":")
	return name
}

func (r Ref) check() error {
	if p := r.Place(); r == "" || (p == InKeyring || p == InFile) && r.name() != "" {
		return nil
	}
	return token.Errorf(token.ErrUsage, "the place %q of a credential is neither in the keyring nor in the file", string(r))
}

// vault holds secrets under random names. What was stored is never changed:
// whoever replaces a secret stores another, lets its owner mention that one
// instead, and then drops the old one.
type vault struct {
	file    document
	note    func(string)
	noKeys  error // why the keyring is not asked any more
	wasTold bool
}

// kept is the file credentials.yaml.
type kept struct {
	List []keptSecret `yaml:"credentials"`
}

type keptSecret struct {
	Name   string `yaml:"name"`
	Secret string `yaml:"secret"`
}

func (k *kept) check() error { return nil }

// put stores a secret. The zero secret is stored nowhere.
func (v *vault) put(ctx context.Context, s secret.Secret) (Ref, error) {
	if s.IsZero() {
		return "", nil
	}
	random := make([]byte, 16)
	rand.Read(random) // never fails
	name := hex.EncodeToString(random)
	_, err := v.ask(ctx, func() (string, error) { return "", keyring.Set(service, name, s.Reveal()) })
	switch {
	case err == nil:
		return Ref(InKeyring + ":" + name), nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	}
	var k kept
	err = v.file.change(ctx, &k, func() error {
		k.List = append(k.List, keptSecret{name, s.Reveal()})
		return nil
	})
	if err == nil && v.note != nil && !v.wasTold {
		v.note("no keyring answers here: the credential is kept in " + v.file.path)
		v.wasTold = true
	}
	return Ref(InFile + ":" + name), err
}

// errGone says that somebody else has removed a secret.
var errGone = errors.New("it is not there any more")

// get reads a secret.
func (v *vault) get(ctx context.Context, r Ref) (secret.Secret, error) {
	switch r.Place() {
	case InKeyring:
		text, err := v.ask(ctx, func() (string, error) { return keyring.Get(service, r.name()) })
		if errors.Is(err, keyring.ErrNotFound) {
			err = errGone
		}
		return secret.FromText(text), err
	case InFile:
		var k kept
		if err := v.file.read(&k); err != nil {
			return secret.Secret{}, err
		}
		for _, s := range k.List {
			if s.Name == r.name() {
				return secret.FromText(s.Secret), nil
			}
		}
		return secret.Secret{}, errGone
	}
	return secret.Secret{}, nil
}

// drop removes a secret; one that is not there any more is no error.
func (v *vault) drop(ctx context.Context, r Ref) error {
	switch r.Place() {
	case InKeyring:
		_, err := v.ask(ctx, func() (string, error) { return "", keyring.Delete(service, r.name()) })
		if err == nil || errors.Is(err, keyring.ErrNotFound) || ctx.Err() != nil {
			return ctx.Err()
		}
		return token.Errorf(token.ErrCannotTell, "the credential cannot be removed: %w", err).
			WithHint("try again where the keyring is unlocked, such as in your desktop session")
	case InFile:
		var k kept
		return v.file.change(ctx, &k, func() error {
			k.List = slices.DeleteFunc(k.List, func(s keptSecret) bool { return s.Name == r.name() })
			return nil
		})
	}
	return nil
}

// service is whose secrets ours are in the keyring.
const service = "tokenctl"

// keyringTimeout is how long the keyring may take. Without a desktop it may
// wait for ever for a password that nobody can type.
const keyringTimeout = 3 * time.Second

// ask lets the keyring do something. A keyring that does not answer is not
// asked again. What comes too late may still be done: it is under a name that
// nothing mentions.
func (v *vault) ask(ctx context.Context, do func() (string, error)) (string, error) {
	if v.noKeys != nil {
		return "", v.noKeys
	}
	type outcome struct {
		text string
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		text, err := do()
		done <- outcome{text, err}
	}()
	limit := time.NewTimer(keyringTimeout)
	defer limit.Stop()
	select {
	case o := <-done:
		if o.err != nil && !errors.Is(o.err, keyring.ErrNotFound) {
			v.noKeys = token.Errorf(token.ErrCannotTell, "the keyring does not work here: %w", o.err)
			return "", v.noKeys
		}
		return o.text, o.err
	case <-limit.C:
		v.noKeys = token.Errorf(token.ErrCannotTell, "the keyring has not answered for %s", keyringTimeout)
		return "", v.noKeys
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
