package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// ErrDamaged is a record that cannot be what was written: bytes rotted, or a
// value stands under another's key.
var ErrDamaged = fmt.Errorf("damaged record: %w", token.ErrCannotTell)

// ErrNewer is a record of a version that this program does not know.
var ErrNewer = fmt.Errorf("record of a newer version of tokenctl: %w", token.ErrCannotTell)

// A value is: version (1 byte), fields, CRC-32C of key, version and fields (4
// bytes). The key is in the sum so that a value under another's key is
// noticed. Fields are uvarints and length-prefixed bytes, in a fixed order.
// The reason for not using JSON: decoding a million JSON records takes
// seconds, these a tenth of one.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const checksumSize = 4

// An Encoder writes the fields of a value.
type Encoder struct{ b []byte }

// Marshal makes the value that belongs under key.
func Marshal(key Key, version byte, fill func(*Encoder)) []byte {
	e := Encoder{append(make([]byte, 0, 192), version)}
	fill(&e)
	return binary.LittleEndian.AppendUint32(e.b, checksum(key, e.b))
}

func checksum(key, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, body)
}

// Uint writes a number.
func (e *Encoder) Uint(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

// Bool writes a truth value.
func (e *Encoder) Bool(v bool) {
	if v {
		e.Uint(1)
	} else {
		e.Uint(0)
	}
}

// String writes text.
func (e *Encoder) String(s string) {
	e.Uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

// Bytes writes bytes. None and an empty slice are the same.
func (e *Encoder) Bytes(b []byte) {
	e.Uint(uint64(len(b)))
	e.b = append(e.b, b...)
}

// Time writes a time in whole seconds after 1970, at the latest the last that
// can be read. The zero time is 0.
func (e *Encoder) Time(t time.Time) {
	if t.IsZero() {
		e.Uint(0)
		return
	}
	e.Uint(uint64(min(max(t.Unix(), 1), maxSeconds)))
}

// Duration writes a length of time in whole seconds, none below zero.
func (e *Encoder) Duration(d time.Duration) { e.Uint(uint64(max(d/time.Second, 0))) }

// Owner writes an owner.
func (e *Encoder) Owner(o token.Owner) {
	e.String(o.Realm)
	e.String(o.Name)
}

// Roles writes roles.
func (e *Encoder) Roles(roles []token.Role) {
	e.Uint(uint64(len(roles)))
	for _, r := range roles {
		e.String(string(r))
	}
}

// A Decoder reads the fields of a value in the order in which they were
// written. After the first error every read gives a zero value.
type Decoder struct {
	Version byte
	// rest is a copy of the value as a string: all texts of a record are parts
	// of this one allocation, which lives as long as any of them.
	rest string
	err  error
	// A walk over many tokens needs no verifiers, and finds the same roles
	// again and again.
	brief bool
	roles []token.Role
}

// Unmarshal checks a value that stood under key, hands its fields to read and
// fails if read left some over. Versions above newest are refused with
// [ErrNewer].
func Unmarshal(key Key, value []byte, newest byte, read func(*Decoder)) error {
	var d Decoder
	if err := d.open(key, value, newest); err != nil {
		return err
	}
	read(&d)
	return d.close(key)
}

func (d *Decoder) open(key Key, value []byte, newest byte) error {
	if len(value) < 1+checksumSize {
		return fmt.Errorf("%w: %d bytes under key %x", ErrDamaged, len(value), []byte(key))
	}
	body := value[:len(value)-checksumSize]
	if checksum(key, body) != binary.LittleEndian.Uint32(value[len(body):]) {
		return fmt.Errorf("%w: wrong checksum under key %x", ErrDamaged, []byte(key))
	}
	if body[0] > newest || body[0] == 0 {
		return fmt.Errorf("%w: version %d under key %x", ErrNewer, body[0], []byte(key))
	}
	d.Version, d.rest, d.err = body[0], string(body[1:]), nil
	return nil
}

func (d *Decoder) close(key Key) error {
	if d.err == nil && d.rest != "" {
		d.fail("bytes left over")
	}
	if d.err != nil {
		return fmt.Errorf("%w under key %x", d.err, []byte(key))
	}
	return nil
}

func (d *Decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrDamaged, what)
	}
	d.rest = ""
}

// Uint reads a number.
func (d *Decoder) Uint() (n uint64) {
	for i := range min(len(d.rest), binary.MaxVarintLen64) {
		c := d.rest[i]
		if c < 0x80 {
			if i == binary.MaxVarintLen64-1 && c > 1 {
				break // over 64 bits
			}
			d.rest = d.rest[i+1:]
			return n | uint64(c)<<(7*i)
		}
		n |= uint64(c&0x7f) << (7 * i)
	}
	d.fail("number cut short")
	return 0
}

// Bool reads a truth value.
func (d *Decoder) Bool() bool { return d.Uint() != 0 }

// String reads text.
func (d *Decoder) String() string {
	n := d.Uint()
	if n > uint64(len(d.rest)) {
		d.fail("text cut short")
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

// Bytes reads bytes into a slice of its own; none at all is nil.
func (d *Decoder) Bytes() []byte {
	if s := d.String(); s != "" && !d.brief {
		return []byte(s)
	}
	return nil
}

// maxSeconds keeps times within what RFC 3339 can write: the end of year 9999.
const maxSeconds = 253402300799

// Time reads a time.
func (d *Decoder) Time() time.Time {
	n := d.Uint()
	if n == 0 {
		return time.Time{}
	}
	if n > maxSeconds {
		d.fail("time out of range")
		return time.Time{}
	}
	return time.Unix(int64(n), 0).UTC()
}

// Duration reads a length of time.
func (d *Decoder) Duration() time.Duration {
	n := d.Uint()
	if n > uint64(token.MaxLifetime/time.Second) {
		d.fail("duration out of range")
		return 0
	}
	return time.Duration(n) * time.Second
}

// Owner reads an owner.
func (d *Decoder) Owner() token.Owner { return token.Owner{Realm: d.String(), Name: d.String()} }

// Roles reads roles; none at all is nil.
func (d *Decoder) Roles() []token.Role {
	n := d.Uint()
	if n > uint64(len(d.rest)) {
		d.fail("roles cut short")
		return nil
	}
	if n == 0 {
		return nil
	}
	if d.brief && uint64(len(d.roles)) == n {
		if same, rest := d.sameRoles(); same {
			d.rest = rest
			return d.roles
		}
	}
	roles := make([]token.Role, n)
	for i := range roles {
		roles[i] = token.Role(d.String())
	}
	d.roles = roles
	return roles
}

// sameRoles says whether the roles that follow are those that were read last.
func (d *Decoder) sameRoles() (same bool, rest string) {
	ahead := Decoder{rest: d.rest}
	for _, r := range d.roles {
		if ahead.String() != string(r) {
			return false, ""
		}
	}
	return ahead.err == nil, ahead.rest
}
