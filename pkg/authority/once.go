package authority

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Once names a request that creates something, so that it may be sent again
// when its answer was lost: for ten minutes the same request of the same caller
// gets the first answer again, and makes nothing. The same key with another
// request, or from another caller, is a conflict.
type Once struct {
	// Key is the client's random name for the request, 128 bits at least. The
	// store keeps its hash alone, and the answer sealed under a key derived
	// from it.
	Key secret.Secret
	// Request is a digest of all that was asked for.
	Request [32]byte
}

// onceLasts is for how long a first answer is kept.
const onceLasts = 10 * time.Minute

// replayed is what the audit log says of an answer that was given again.
const replayed = "the first answer was given again"

// firstAnswer is what the store keeps of an answer. Its name begins with the
// stretch of time that it was given in: whoever looks for one tries the present
// and the last, and all before can be forgotten without being read.
type firstAnswer struct {
	stretch int64
	key     [32]byte
	caller  string
	request []byte
	sealed  []byte
	at      time.Time
}

var firstAnswers = store.NewTable("answer", 1,
	func(a *firstAnswer) []string { return answerName(a.stretch, a.key) },
	func(e *store.Encoder, a *firstAnswer) {
		e.Uint(uint64(a.stretch))
		e.Bytes(a.key[:])
		e.String(a.caller)
		e.Bytes(a.request)
		e.Bytes(a.sealed)
		e.Time(a.at)
	},
	func(d *store.Decoder, a *firstAnswer) {
		a.stretch = int64(d.Uint())
		copy(a.key[:], d.Bytes())
		a.caller = d.String()
		a.request = d.Bytes()
		a.sealed = d.Bytes()
		a.at = d.Time()
	})

func answerName(stretch int64, key [32]byte) []string {
	return []string{fmt.Sprintf("%012d", stretch), hex.EncodeToString(key[:])}
}

func stretchOf(t time.Time) int64 { return t.Unix() / int64(onceLasts/time.Second) }

// sealedAnswer separates what is sealed here from all else.
const sealedAnswer = "answer to a request"

// once makes a change at most once for a caller whose request has a name. first
// makes it and returns what must be kept to answer again; again gets that and
// prepares the same answer.
func (s *session) once(ctx context.Context, first func(*change) (string, error), again func(*change, string) error) error {
	if s.caller.Once == nil {
		return s.update(ctx, func(c *change) error {
			_, err := first(c)
			return err
		})
	}
	key := sha256.Sum256([]byte("tokenctl request\x00" + s.caller.Once.Key.Reveal()))
	return s.update(ctx, func(c *change) error {
		kept, err := c.recall(key)
		if err == nil {
			return again(c, kept)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if kept, err = first(c); err != nil {
			return err
		}
		sealed, err := secret.SealUnder(s.caller.Once.Key, sealedAnswer, []byte(kept))
		if err != nil {
			return err
		}
		return firstAnswers.Put(c, firstAnswer{
			stretch: stretchOf(c.now), key: key, caller: s.asking(), request: s.caller.Once.Request[:], sealed: sealed, at: c.now,
		})
	})
}

// asking is who asks, with which rights: a narrower credential of the same owner
// does not get what a wider one has made.
func (s *session) asking() string {
	if !s.caller.Narrowed {
		return s.who()
	}
	return fmt.Sprintf("%s as %q", s.who(), s.caller.Roles)
}

// recall finds the first answer to the caller's request.
func (c *change) recall(key [32]byte) (string, error) {
	for _, stretch := range []int64{stretchOf(c.now), stretchOf(c.now) - 1} {
		a, err := firstAnswers.Get(c, answerName(stretch, key)...)
		if errors.Is(err, store.ErrNotFound) || err == nil && c.now.Sub(a.at) >= onceLasts {
			continue
		}
		if err != nil {
			return "", err
		}
		if a.caller != c.by.asking() || string(a.request) != string(c.by.caller.Once.Request[:]) {
			return "", token.Errorf(token.ErrConflict, "this idempotency key belongs to another request").WithHint("a new request needs a new random key")
		}
		kept, err := secret.OpenUnder(c.by.caller.Once.Key, sealedAnswer, a.sealed)
		return string(kept), err
	}
	return "", store.ErrNotFound
}

// replayToken is the token whose id and secret were the first answer, as it is
// now.
func (c *change) replayToken(action, first string) (secret.Secret, token.Record, error) {
	text, plain, _ := strings.Cut(first, " ")
	id, err := secret.ParseID(text)
	if err != nil {
		return secret.Secret{}, token.Record{}, err
	}
	rec, err := store.GetToken(c, id)
	if err != nil {
		return secret.Secret{}, rec, goneSince(err)
	}
	c.noteToken(action, &rec, "", replayed)
	return secret.FromText(plain), rec, nil
}

// goneSince tells of what the first request made and somebody has removed.
func goneSince(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return token.Errorf(token.ErrConflict, "what this request made has been removed since").WithHint("a new request needs a new idempotency key")
	}
	return err
}

// forgetAnswers removes the first answers that nobody can ask for any more.
func (s *session) forgetAnswers(ctx context.Context) (more bool, err error) {
	var old []firstAnswer
	err = s.view(ctx, func(r store.Reader) error {
		old = nil
		for a, err := range firstAnswers.Scan(r) {
			if err != nil {
				return err
			}
			if a.stretch >= stretchOf(s.now())-1 || len(old) == maintenanceBatch {
				break
			}
			old = append(old, a)
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return false, err
	}
	return true, s.write(ctx, func(w store.Writer) error {
		for _, a := range old {
			if err := firstAnswers.Delete(w, answerName(a.stretch, a.key)...); err != nil {
				return err
			}
		}
		return nil
	})
}
