package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// idLen is the length of an id's text: 80 bits, five to a character.
const idLen = 16

// idAlphabet is Crockford's base32 in lower case: no i, l, o, u. It ascends as
// ASCII does, so that texts sort like the bytes.
const idAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// idDigits maps a byte to its value in idAlphabet, or to noDigit.
var idDigits = digits(idAlphabet)

// noDigit is what a table of digits holds for a byte outside its alphabet. Or
// together the digits of a text, and this bit tells whether all were good.
const noDigit = 0x80

func digits(alphabet string) (table [256]byte) {
	for i := range table {
		table[i] = noDigit
	}
	for i := range len(alphabet) {
		table[alphabet[i]] = byte(i)
	}
	return table
}

// ID names a token in public: 32-bit big-endian Unix seconds, then 48 random
// bits. Its text is 16 characters of lower-case Crockford base32, the only
// spelling there is. Ids, their bytes and their texts sort alike, by time:
// random keys made bulk inserts into the store ten times slower.
type ID [10]byte

// NewID returns a new id with the time now, which is kept between 1970 and
// 2106, the ends of the 32 bits. Two ids of one second are the same with a
// probability of 2^-48: whoever stores one checks that it is not there yet.
func NewID(now time.Time) (id ID) {
	seconds := min(max(now.Unix(), 0), math.MaxUint32)
	binary.BigEndian.PutUint32(id[:4], uint32(seconds))
	rand.Read(id[4:]) // never fails: crypto/rand ends the program instead
	return id
}

// ParseID reads the text of an id. It must be exactly what [ID.String] gives:
// no upper case, no look-alike letters, no spaces. The error wraps
// [ErrMalformed].
func ParseID(text string) (ID, error) {
	if len(text) != idLen {
		return ID{}, fmt.Errorf("%w: an id has %d characters", ErrMalformed, idLen)
	}
	id, ok := decodeID(text)
	if !ok {
		return ID{}, fmt.Errorf("%w: an id has only the characters %s", ErrMalformed, idAlphabet)
	}
	return id, nil
}

// decodeID decodes the first idLen bytes of text, which are there.
func decodeID(text string) (id ID, ok bool) {
	var bad byte
	for half := range 2 {
		var bits uint64
		for _, c := range []byte(text[half*8 : half*8+8]) {
			digit := idDigits[c]
			bad |= digit
			bits = bits<<5 | uint64(digit&31)
		}
		out := id[half*5 : half*5+5]
		out[0] = byte(bits >> 32)
		binary.BigEndian.PutUint32(out[1:], uint32(bits))
	}
	return id, bad&noDigit == 0
}

// AppendTo appends the text of the id to b.
func (id ID) AppendTo(b []byte) []byte {
	for half := range 2 {
		in := id[half*5 : half*5+5]
		bits := uint64(in[0])<<32 | uint64(binary.BigEndian.Uint32(in[1:]))
		for shift := 35; shift >= 0; shift -= 5 {
			b = append(b, idAlphabet[bits>>shift&31])
		}
	}
	return b
}

// String returns the text of the id, 16 characters.
func (id ID) String() string { return string(id.AppendTo(make([]byte, 0, idLen))) }

// Time returns the second that the id was made in, in UTC.
func (id ID) Time() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(id[:4])), 0).UTC()
}

// IsZero reports whether the id is the zero value, which names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// Compare returns -1, 0 or +1, in the order of time.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText returns the text of the id.
func (id ID) MarshalText() ([]byte, error) { return id.AppendTo(nil), nil }

// UnmarshalText is [ParseID].
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// LooksLikeID reports whether s has the length and, in either case, the
// alphabet of an id. No name may look so: where a command takes a name or an
// id, it would be taken for the other.
func LooksLikeID(s string) bool {
	if len(s) != idLen {
		return false
	}
	for _, c := range []byte(s) {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if idDigits[c] == noDigit {
			return false
		}
	}
	return true
}
