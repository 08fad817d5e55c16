package authority

import (
	"context"
	"errors"
	"time"

	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// usePrecision is how exactly a last use is known: a busy token does not cost
// a write each time.
const usePrecision = 30 * time.Second

// used notes that a credential was put to use: when and from where, that the
// secret of a rotation has arrived, and a hash in today's way where the stored
// one is outdated. The answer stands even if none of this can be written.
func (l *Local) used(ctx context.Context, k *known, outdated, renewed bool, c credential, from string) {
	if len(k.record.Verifier) == 0 { // a JWT without a token of ours
		return
	}
	arrived := renewed && k.record.PreviousUntilUsed && len(k.record.Previous) > 0
	if arrived || outdated {
		l.writeUse(ctx, k, outdated, arrived, c, from)
		return
	}
	now := l.clock()
	switch {
	case now.Sub(k.lastUse.At) < usePrecision || now.Unix()-k.noted.Load() < int64(usePrecision/time.Second):
	case l.serving:
		k.noted.Store(l.noted.use(k.record.ID, token.Use{At: now, From: from}).Unix())
	default:
		l.writeUse(ctx, k, false, false, c, from)
	}
}

func (l *Local) writeUse(ctx context.Context, k *known, outdated, arrived bool, c credential, from string) {
	id := k.record.ID
	s := session{Local: l, caller: Caller{Owner: k.record.Owner, Via: "token " + id.String(), From: from}}
	var fresh secret.Verifier
	if outdated {
		var err error
		if fresh, err = l.again(ctx, k, c); err != nil {
			l.warn(err)
			outdated = false
		}
	}
	err := s.update(ctx, func(w *change) error {
		rec, err := store.GetToken(w, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		// Only what was judged is touched: the token may have changed since.
		if (arrived || outdated) && rec.Revision == k.record.Revision {
			was := rec
			if arrived {
				w.noteToken("token.rotated-in", &rec, "", "the new secret was used: the old one has ended")
				rec.Previous, rec.PreviousUntil, rec.PreviousUntilUsed = nil, time.Time{}, false
				if err := provision.Retire(w, id, w.now); err != nil {
					return err
				}
			}
			// An exchange that rotates leaves the revision, and another secret.
			if outdated && string(was.Verifier) == string(k.record.Verifier) {
				rec.Verifier = fresh
			}
			if err := store.PutToken(w, &was, &rec); err != nil {
				return err
			}
		}
		return store.PutUse(w, id, token.Use{At: w.now, From: from})
	})
	if err != nil {
		l.warn(token.Errorf(token.ErrCannotTell, "the last use of token %s could not be noted: %w", id, err))
	}
}

// again hashes a secret, which was right, as secrets are hashed now.
func (l *Local) again(ctx context.Context, k *known, c credential) (secret.Verifier, error) {
	if !k.record.Verifier.Slow() {
		return l.hasher.Fast(use(c.kind, c.id), c.secret), nil
	}
	return l.hasher.Slow(ctx, use(c.kind, c.id), c.secret)
}
