package provision

import (
	"errors"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// State is what is known of one token at one provisioner: the values that the
// other system has or had from us, and the delivery that is due. What the
// system should have is not stored, but found out at delivery.
type State struct {
	Token       token.ID
	Provisioner string
	Target
	Order int // of the provisioner, when the token was made
	// Values are those that the other system may have, in the order of their
	// making. One that the last rotation ended is kept until the next one, so
	// that it can be taken back.
	Values []Value

	// Due is when to deliver next; zero: when the token changes. While it
	// delivers, it is when another may try.
	Due time.Time
	// LeasedUntil is how long whoever delivers now has the State to itself;
	// zero: nobody does.
	LeasedUntil time.Time
	Event       string // the id of the event under way; empty: none
	Attempts    int    // that failed, since the last change
	LastTry     time.Time
	LastError   string // of the last attempt, if it failed; no secret is in it
	// WaitsFor is the provisioner that must agree first; empty: none.
	WaitsFor string
	// AcknowledgedAt is when the other system agreed last; zero: it has not
	// since the last change.
	AcknowledgedAt time.Time

	lease   string // of whoever delivers
	claimed string // what the event under way asks for, see plan
}

// Pending reports whether the other system has not yet agreed to the last
// change.
func (s *State) Pending() bool { return s.AcknowledgedAt.IsZero() }

// Value is what the other system is to have of one secret.
type Value struct {
	// Sealed is what [Provisioner.Prepare] made, sealed for [SealedFor].
	Sealed []byte
	Until  time.Time // zero: as long as the token
	At     Place
	// Revision is the token's when it got the secret, and EndedBy when the secret
	// was replaced; 0: it was not.
	Revision, EndedBy uint64
}

// over reports whether a value was replaced and has had its time.
func (v *Value) over(now time.Time) bool { return !v.Until.IsZero() && !now.Before(v.Until) }

// Place says where a value is, as far as the other system has told.
type Place uint8

// The places. The numbers are in the store and never change.
const (
	Unknown Place = iota // never delivered, or somebody is at it
	There
	Gone
)

func (p Place) String() string {
	switch p {
	case There:
		return "there"
	case Gone:
		return "gone"
	}
	return "unknown"
}

// SealedFor says what a sealed value belongs to. It is bound to the value when
// that is sealed, so that nobody can move one to another token or provisioner.
func SealedFor(id token.ID, provisioner string) string { return id.String() + "/" + provisioner }

var states = store.NewTable("provision", 1,
	func(s *State) []string { return []string{s.Token.String(), s.Provisioner} },
	func(e *store.Encoder, s *State) {
		e.Bytes(s.Token[:])
		e.String(s.Provisioner)
		e.Owner(s.Owner)
		e.String(s.Service)
		e.String(s.EntryID)
		e.Uint(zigzag(s.Order))
		e.Uint(uint64(len(s.Values)))
		for _, v := range s.Values {
			e.Bytes(v.Sealed)
			e.Time(v.Until)
			e.Uint(uint64(v.At))
			e.Uint(v.Revision)
			e.Uint(v.EndedBy)
		}
		e.Time(s.Due)
		e.Time(s.LeasedUntil)
		e.String(s.Event)
		e.Uint(uint64(s.Attempts))
		e.Time(s.LastTry)
		e.String(s.LastError)
		e.String(s.WaitsFor)
		e.Time(s.AcknowledgedAt)
		e.String(s.lease)
		e.String(s.claimed)
	},
	func(d *store.Decoder, s *State) {
		copy(s.Token[:], d.Bytes())
		s.Provisioner = d.String()
		s.Owner = d.Owner()
		s.Service = d.String()
		s.EntryID = d.String()
		s.Order = unzigzag(d.Uint())
		for n := min(d.Uint(), maxValues); n > 0; n-- { // what is left over then is damage
			s.Values = append(s.Values, Value{Sealed: d.Bytes(), Until: d.Time(), At: Place(d.Uint()), Revision: d.Uint(), EndedBy: d.Uint()})
		}
		s.Due = d.Time()
		s.LeasedUntil = d.Time()
		s.Event = d.String()
		s.Attempts = int(d.Uint())
		s.LastTry = d.Time()
		s.LastError = d.String()
		s.WaitsFor = d.String()
		s.AcknowledgedAt = d.Time()
		s.lease = d.String()
		s.claimed = d.String()
	})

// zigzag makes a number that may be negative one that is not: 0, -1, 1, -2 …
func zigzag(n int) uint64          { return uint64(n<<1) ^ uint64(n>>63) }
func unzigzag(n uint64) int        { return int(n>>1) ^ -int(n&1) }
func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// later is the later of two times, of which the second may be zero.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// sooner is the earlier of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// row is an entry of the outbox: an index of the States by when they are due.
type row struct {
	due         time.Time
	id          token.ID
	provisioner string
}

func (s *State) row() row { return row{s.Due, s.Token, s.Provisioner} }

func (r row) key() store.Key {
	return store.NewKey(store.TableOutbox).Time(r.due).ID(r.id).Text(r.provisioner)
}

func parseRow(key []byte) (row, error) {
	k := store.ReadKey(key)
	r := row{due: time.Unix(int64(k.Uint64()), 0).UTC(), id: k.ID(), provisioner: k.Text()}
	return r, k.Err()
}

// put writes a State with its row in the outbox. was is the State as it was
// read in the same Update, nil for a new one. It is three writes at most.
func put(w store.Writer, was, now *State) error {
	if was != nil && !was.Due.IsZero() && !was.Due.Equal(now.Due) {
		if err := w.Delete(was.row().key()); err != nil {
			return err
		}
	}
	if !now.Due.IsZero() && (was == nil || !was.Due.Equal(now.Due)) {
		if err := w.Put(now.row().key(), nil); err != nil {
			return err
		}
	}
	return states.Put(w, *now)
}

// writesPerState is how many writes put needs at most.
const writesPerState = 3

// remove deletes a State with its row.
func remove(w store.Writer, s *State) error {
	if !s.Due.IsZero() {
		if err := w.Delete(s.row().key()); err != nil {
			return err
		}
	}
	return states.Delete(w, s.Token.String(), s.Provisioner)
}

// leased reports whether somebody delivers. A lease that ends later than any
// taken now is of a clock that has been set back since.
func (s *State) leased(now time.Time) bool {
	return s.LeasedUntil.After(now) && !s.LeasedUntil.After(now.Add(Lease))
}

// soonest is when a State can be delivered. Whoever delivers the old state of
// things is let finish first, or nobody could say who spoke last.
func (s *State) soonest(now time.Time) time.Time {
	if s.leased(now) {
		return s.LeasedUntil
	}
	return second(now)
}

// renew makes something new due.
func (s *State) renew(now time.Time) {
	s.Due = s.soonest(now)
	s.Event, s.claimed, s.Attempts, s.LastError, s.WaitsFor = "", "", 0, "", ""
	s.AcknowledgedAt = time.Time{}
}

// edit changes the States of a token for which fn says so.
func edit(w store.Writer, id token.ID, fn func(*State) bool) (changed int, err error) {
	all, err := States(w, id)
	if err != nil {
		return 0, err
	}
	for _, was := range all {
		now := was
		now.Values = append([]Value(nil), was.Values...)
		if !fn(&now) {
			continue
		}
		changed++
		if err := put(w, &was, &now); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// check says what is wrong between a State and its row.
func (s *State) check(r store.Reader) error {
	if s.Due.IsZero() {
		if s.Pending() {
			return problem("it is pending, and never due")
		}
		return nil
	}
	_, err := r.Get(s.row().key())
	if errors.Is(err, store.ErrNotFound) {
		return problem("it is due, and not in the outbox")
	}
	return err
}

// problem is a finding of [Inspect].
type problem string

func (p problem) Error() string { return string(p) }
