package authority

import (
	"context"
	"strconv"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/signer"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// ListKeys implements [Keys].
func (s *session) ListKeys(ctx context.Context) (keys []Key, err error) {
	err = s.view(ctx, func(r store.Reader) error {
		if err := s.needs(r, "list keys", token.Auditor); err != nil {
			return err
		}
		signing, err := s.signer.List(r)
		if err != nil {
			return err
		}
		keys = nil
		for _, k := range s.keys.Numbers() {
			state := "retired"
			if k.Current {
				state = "active"
			}
			keys = append(keys, Key{Use: "file", ID: strconv.FormatUint(uint64(k.Number), 10), State: state, CreatedAt: k.CreatedAt})
		}
		for _, k := range signing {
			keys = append(keys, signingKey(k))
		}
		return nil
	})
	return keys, err
}

func signingKey(k signer.Key) Key {
	return Key{Use: "sign", ID: k.ID, Algorithm: k.Algorithm, State: string(k.State), CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt}
}

// RotateSigning implements [Keys].
func (s *session) RotateSigning(ctx context.Context, a token.Algorithm) (key Key, err error) {
	if _, err := token.ParseAlgorithm(string(a)); err != nil {
		return Key{}, err
	}
	has := false
	err = s.view(ctx, func(r store.Reader) (err error) {
		if err := s.needs(r, "rotate keys", token.Admin); err != nil {
			return err
		}
		has, err = s.signer.Has(r, a)
		return err
	})
	if err != nil {
		return Key{}, err
	}
	// Made outside of the transaction, for it may take long.
	next, err := s.signer.Generate(a, s.clock())
	var first *signer.Pair
	if err == nil && !has {
		first, err = s.signer.Generate(a, s.clock())
	}
	if err != nil {
		return Key{}, err
	}
	err = s.once(ctx, func(c *change) (string, error) {
		key, err = c.rotate(a, first, next)
		return key.ID, err
	}, func(c *change, first string) error {
		keys, err := s.signer.List(c)
		for _, k := range keys {
			if k.ID == first {
				key = signingKey(k)
			}
		}
		c.note(audit.Entry{Action: "key.rotate", Object: first, Detail: replayed})
		return err
	})
	return key, err
}

// rotate takes the next signing key into use and puts another behind it. Of an
// algorithm that has none yet, the first is new enough.
func (c *change) rotate(a token.Algorithm, first, next *signer.Pair) (Key, error) {
	if err := c.by.needs(c, "rotate keys", token.Admin); err != nil {
		return Key{}, err
	}
	if first != nil {
		installed, err := c.install(first, next)
		if err != nil || installed {
			return Key{Use: "sign", ID: first.ID(), Algorithm: a, State: signer.Active, CreatedAt: c.now}, err
		}
	}
	p, err := policy(c)
	if err != nil {
		return Key{}, err
	}
	active, err := c.by.signer.Rotate(c, next, c.now, p.LongestAccessLifetime)
	if err != nil {
		return Key{}, err
	}
	c.note(audit.Entry{Action: "key.rotate", Object: active.ID, Detail: string(a)})
	return signingKey(active), nil
}

// RotateKeyFile implements [Keys].
func (s *session) RotateKeyFile(ctx context.Context) (key Key, err error) {
	if err := s.view(ctx, func(r store.Reader) error { return s.needs(r, "rotate keys", token.Admin) }); err != nil {
		return Key{}, err
	}
	// The key is in the file, and durable, before anything names it.
	number, err := s.keys.Add(s.clock())
	if err != nil {
		return Key{}, token.Errorf(token.ErrCannotTell, "the key file was not changed: %w", err)
	}
	s.hasher.SetKeys(s.keys.Hashing())
	// Every change notes a key that is new in the file; this one, too.
	err = s.update(ctx, func(c *change) error { return s.signer.Reseal(c) })
	if err != nil {
		err = token.Errorf(err, "key %d is in the key file and will be used, but: %w", number, err)
	}
	return Key{Use: "file", ID: strconv.FormatUint(uint64(number), 10), State: "active", CreatedAt: s.clock()}, err
}

// JWKS implements [Keys].
func (s *session) JWKS(ctx context.Context) (set []byte, err error) {
	err = s.view(ctx, func(r store.Reader) (err error) {
		set, err = s.signer.JWKS(r, s.now())
		return err
	})
	return set, err
}
