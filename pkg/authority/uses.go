package authority

import (
	"context"
	"errors"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// usePrecision is how exactly a last use is known: a busy token does not cost
// a write each time.
const usePrecision = 30 * time.Second

// used notes that a credential was put to use: when and from where, that the
// secret of a rotation has arrived, and a hash in today's way where the stored
// one is outdated. The answer stands even if none of this can be written.
func (l *Local) used(ctx context.Context, v *verdict, c credential, from string) {
	now := l.clock()
	arrived := v.renewed && v.record.PreviousUntilUsed && len(v.record.Previous) > 0
	if !arrived && !v.outdated {
		if now.Sub(v.lastUse.At) < usePrecision {
			return
		}
		if l.serving {
			l.noted.use(v.record.ID, token.Use{At: now, From: from})
			return
		}
	}
	s := session{Local: l, caller: Caller{Owner: v.record.Owner, Via: "token " + v.record.ID.String(), From: from}}
	err := s.update(ctx, func(w *change) error {
		rec, err := store.GetToken(w, v.record.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		// Only what was judged is touched: the token may have changed since.
		if (arrived || v.outdated) && rec.Revision == v.record.Revision {
			was := rec
			if arrived {
				w.noteToken("token.rotated-in", &rec, "", "the new secret was used: the old one has ended")
				rec.Previous, rec.PreviousUntil, rec.PreviousUntilUsed = nil, time.Time{}, false
			}
			if v.outdated {
				rec.Verifier = l.hasher.Fast(use(c.kind, c.id), c.secret)
			}
			if err := store.PutToken(w, &was, &rec); err != nil {
				return err
			}
		}
		return store.PutUse(w, rec.ID, token.Use{At: now, From: from})
	})
	if err != nil {
		l.warn(token.Errorf(token.ErrCannotTell, "the last use of token %s could not be noted: %w", v.record.ID, err))
	}
}
