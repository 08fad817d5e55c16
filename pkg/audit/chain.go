package audit

import (
	"cmp"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// The table has two kinds of key: a <writer> <seq> for the entries, and, as no
// writer's name is empty, a "" <kind> <writer> for what anchors a chain at its
// two ends.
const (
	headKind       = "head"       // the last entry
	checkpointKind = "checkpoint" // the last entry that was pruned
)

const (
	linkVersion   = 1 // of what goes around an entry: key number, MAC
	entryVersion  = 1 // of an entry's fields
	anchorVersion = 1

	purpose = "audit" // of the key in the key file
	macSize = 32
)

func entryPrefix(writer string) store.Key { return store.NewKey(store.TableAudit).Text(writer) }

func entryKey(writer string, seq uint64) store.Key { return entryPrefix(writer).Uint64(seq) }

func anchorsPrefix() store.Key { return store.NewKey(store.TableAudit).Text("") }

func anchorKey(kind, writer string) store.Key { return anchorsPrefix().Text(kind).Text(writer) }

// readEntryKey takes apart a <writer> <seq>.
func readEntryKey(key []byte) (writer string, seq uint64, err error) {
	k := store.ReadKey(key)
	writer, seq = k.Text(), k.Uint64()
	return writer, seq, k.Err()
}

// readAnchorKey takes apart a "" <kind> <writer>.
func readAnchorKey(key []byte) (kind, writer string, err error) {
	k := store.ReadKey(key)
	k.Text()
	kind, writer = k.Text(), k.Text()
	if err := k.Err(); err != nil {
		return "", "", err
	}
	if writer == "" || kind != headKind && kind != checkpointKind {
		return "", "", fmt.Errorf("%w: no anchor of a chain", store.ErrDamaged)
	}
	return kind, writer, nil
}

// macs makes the MACs of one operation. Deriving a key takes longer than a MAC,
// and nearly always it is the same one.
type macs struct {
	keys   *keyfile.Keys
	number uint32
	mac    func(parts ...[]byte) [macSize]byte
}

// sum is the MAC of the parts, each with its length, so that no two lists of
// parts have the same. The first part says what for.
func (m *macs) sum(number uint32, parts ...[]byte) ([]byte, error) {
	if m.number != number {
		mac, err := m.keys.MAC(purpose, number)
		if err != nil {
			return nil, token.Errorf(token.ErrCannotTell, "the audit log needs a key that the key file lacks: %w", err).
				WithHint("put back the key file that belongs to this store")
		}
		m.number, m.mac = number, mac
	}
	sum := m.mac(parts...)
	return sum[:], nil
}

// sign makes a MAC with the current key of the key file.
func (m *macs) sign(parts ...[]byte) (number uint32, mac []byte, err error) {
	number = m.keys.Hashing().Current()
	mac, err = m.sum(number, parts...)
	return number, mac, err
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// entryParts are an entry as it stands in the store, and by the MAC of the one
// before all that came before. The first of a chain follows no MAC.
func entryParts(previous []byte, writer string, seq uint64, body []byte) [][]byte {
	return [][]byte{[]byte("entry"), previous, []byte(writer), number(seq), body}
}

// A link is an entry in its chain, as stored.
type link struct {
	number uint32 // of the key
	mac    []byte
	body   []byte
}

func decodeLink(key store.Key, value []byte) (n link, err error) {
	err = store.Unmarshal(key, value, linkVersion, func(d *store.Decoder) {
		n.number, n.mac, n.body = keyNumber(d), d.Bytes(), d.Bytes()
	})
	return n, cmp.Or(err, checkNumber(n.number))
}

// keyNumber reads the number of a key; one that is none becomes 0.
func keyNumber(d *store.Decoder) uint32 {
	n := d.Uint()
	if n > math.MaxUint32 {
		return 0
	}
	return uint32(n)
}

// checkNumber keeps 0 away from the key file, to which it is the current key.
func checkNumber(number uint32) error {
	if number == 0 {
		return fmt.Errorf("%w: no key is named", store.ErrDamaged)
	}
	return nil
}

// follows says whether the link is the one that was written after the entry
// with the given MAC.
func (m *macs) follows(n link, previous []byte, writer string, seq uint64) (bool, error) {
	mac, err := m.sum(n.number, entryParts(previous, writer, seq, n.body)...)
	return subtle.ConstantTimeCompare(mac, n.mac) == 1, err
}

func encodeEntry(key store.Key, e *Entry) []byte {
	return store.Marshal(key, entryVersion, func(enc *store.Encoder) {
		enc.Time(e.Time)
		enc.Owner(token.Owner{Realm: bounded(e.Actor.Realm), Name: bounded(e.Actor.Name)})
		enc.String(bounded(e.Via))
		enc.Owner(token.Owner{Realm: bounded(e.Owner.Realm), Name: bounded(e.Owner.Name)})
		enc.String(bounded(e.Action))
		if e.Token.IsZero() {
			enc.Bytes(nil)
		} else {
			enc.Bytes(e.Token[:])
		}
		enc.String(bounded(e.Kind))
		enc.String(bounded(e.Object))
		enc.String(bounded(e.Reason))
		enc.String(bounded(e.Source))
		enc.String(bounded(e.Detail))
	})
}

func decodeEntry(key store.Key, body []byte, e *Entry) error {
	var id []byte
	err := store.Unmarshal(key, body, entryVersion, func(d *store.Decoder) {
		e.Time = d.Time()
		e.Actor = d.Owner()
		e.Via = d.String()
		e.Owner = d.Owner()
		e.Action = d.String()
		id = d.Bytes()
		e.Kind = d.String()
		e.Object = d.String()
		e.Reason = d.String()
		e.Source = d.String()
		e.Detail = d.String()
	})
	if err == nil && len(id) != 0 && len(id) != len(e.Token) {
		return fmt.Errorf("%w: a token id of %d bytes", store.ErrDamaged, len(id))
	}
	copy(e.Token[:], id)
	return err
}

// readEntry reads an entry and what chains it.
func readEntry(key store.Key, value []byte) (e Entry, n link, err error) {
	if e.Writer, e.Seq, err = readEntryKey(key); err != nil {
		return e, n, err
	}
	if n, err = decodeLink(key, value); err != nil {
		return e, n, err
	}
	return e, n, decodeEntry(key, n.body, &e)
}

// An anchor holds one end of a chain, under a MAC of its own: without it,
// cutting entries off that end would leave a chain without a flaw.
type anchor struct {
	writer string
	seq    uint64    // of an entry …
	mac    []byte    // … with this MAC …
	time   time.Time // … and this time
	key    uint32    // number of the key that the anchor's own MAC is made with
}

func anchorParts(kind string, a anchor) [][]byte {
	return [][]byte{[]byte(kind), []byte(a.writer), number(a.seq), a.mac, number(uint64(a.time.Unix()))}
}

func (m *macs) putAnchor(w store.Writer, kind string, a anchor) error {
	n, mac, err := m.sign(anchorParts(kind, a)...)
	if err != nil {
		return err
	}
	key := anchorKey(kind, a.writer)
	return w.Put(key, store.Marshal(key, anchorVersion, func(e *store.Encoder) {
		e.Uint(a.seq)
		e.Bytes(a.mac)
		e.Time(a.time)
		e.Uint(uint64(n))
		e.Bytes(mac)
	}))
}

// errForged is an anchor whose MAC does not fit.
var errForged = errors.New("is not what was written")

// anchor reads one end of a chain. It fails with [store.ErrNotFound],
// [store.ErrDamaged], or an error that wraps errForged.
func (m *macs) anchor(r store.Reader, kind, writer string) (anchor, error) {
	a, mac, err := readAnchor(r, kind, writer)
	if err != nil {
		return a, err
	}
	want, err := m.sum(a.key, anchorParts(kind, a)...)
	if err != nil {
		return a, err
	}
	if subtle.ConstantTimeCompare(want, mac) != 1 {
		return a, cannotTell(writer, "the %s %w", kind, errForged)
	}
	return a, nil
}

func readAnchor(r store.Reader, kind, writer string) (a anchor, mac []byte, err error) {
	key := anchorKey(kind, writer)
	b, err := r.Get(key)
	if err != nil {
		return a, nil, err
	}
	a.writer = writer
	err = store.Unmarshal(key, b, anchorVersion, func(d *store.Decoder) {
		a.seq, a.mac, a.time = d.Uint(), d.Bytes(), d.Time()
		a.key, mac = keyNumber(d), d.Bytes()
	})
	return a, mac, cmp.Or(err, checkNumber(a.key))
}
