package store

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// The tables: the first byte of every key. A driver may keep each in a place
// of its own.
const (
	tableTokens  = 't' // t <id>                            the record
	tableOwners  = 'o' // o <realm> <name> <id>             tokens by owner
	tableSlots   = 'n' // n <realm> <name> <kind> <name>    who holds a slot: the id
	tableService = 's' // s <service> <realm> <name>        a service's tokens: the id
	tableEnds    = 'e' // e <end> <id>                      tokens by the time they expire or were revoked
	tableUses    = 'u' // u <id>                            last use
	tableConfig  = 'c' // c <kind> <name>…                  accounts, connections, policy, keys
	// TableAudit is the audit log's: a <writer> <seq>.
	TableAudit = 'a'
	// TableOutbox is the outbox's: x <due> <id> <provisioner>.
	TableOutbox = 'x'
)

// Key is a key under construction: a table, then components. Components of
// text are escaped and terminated, so that no name reaches into another's
// range and keys sort as their components do; the others have a fixed length.
type Key []byte

// NewKey begins a key in a table.
func NewKey(table byte) Key { return append(make(Key, 0, 48), table) }

// Text appends a component of any bytes: a zero byte becomes 00 FF, and 00 01
// ends it.
func (k Key) Text(s string) Key {
	for i := range len(s) {
		if s[i] == 0 {
			k = append(k, 0, 0xFF)
			continue
		}
		k = append(k, s[i])
	}
	return append(k, 0, 1)
}

// ID appends an id, 10 bytes.
func (k Key) ID(id token.ID) Key { return append(k, id[:]...) }

// Uint64 appends a number, 8 bytes, big-endian.
func (k Key) Uint64(n uint64) Key { return binary.BigEndian.AppendUint64(k, n) }

// Time appends a time in whole seconds, 8 bytes. Times before 1970 count as
// 1970.
func (k Key) Time(t time.Time) Key { return k.Uint64(uint64(max(t.Unix(), 0))) }

// Owner appends an owner: two components of text.
func (k Key) Owner(o token.Owner) Key { return k.Text(o.Realm).Text(o.Name) }

// KeyReader takes a key apart again.
type KeyReader struct {
	rest []byte
	err  error
}

// ReadKey begins after the table's byte.
func ReadKey(key []byte) *KeyReader {
	if len(key) == 0 {
		return &KeyReader{err: fmt.Errorf("%w: empty key", ErrDamaged)}
	}
	return &KeyReader{rest: key[1:]}
}

// Text reads a component of text.
func (k *KeyReader) Text() string {
	var out []byte
	for i := 0; i+1 < len(k.rest); i++ {
		switch {
		case k.rest[i] != 0:
			out = append(out, k.rest[i])
		case k.rest[i+1] == 1:
			k.rest = k.rest[i+2:]
			return string(out)
		case k.rest[i+1] == 0xFF:
			out = append(out, 0)
			i++
		default:
			k.fail("key with a wrong escape")
			return ""
		}
	}
	k.fail("key without an end")
	return ""
}

// ID reads an id.
func (k *KeyReader) ID() (id token.ID) {
	copy(id[:], k.take(len(id)))
	return id
}

// Uint64 reads a number.
func (k *KeyReader) Uint64() uint64 {
	if b := k.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Err is the first error of all reads; bytes left over are one.
func (k *KeyReader) Err() error {
	if k.err == nil && len(k.rest) > 0 {
		k.fail("key with bytes left over")
	}
	return k.err
}

func (k *KeyReader) take(n int) []byte {
	if len(k.rest) < n {
		k.fail("key too short")
		return nil
	}
	b := k.rest[:n]
	k.rest = k.rest[n:]
	return b
}

func (k *KeyReader) fail(what string) {
	if k.err == nil {
		k.err = fmt.Errorf("%w: %s", ErrDamaged, what)
	}
	k.rest = nil
}
