package keyfile

import (
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
)

// masterLen is the length of a master key in bytes.
const masterLen = 32

// masterKey is one line of the file.
type masterKey struct {
	number    uint32
	createdAt time.Time // in UTC, whole seconds
	master    []byte
}

const heading = `# tokenctl key file: without it the database beside it cannot verify a token or sign one.
# Keep a copy, apart from backups of the database.
`

const formatLine = "tokenctl-keys 1"

// b64 is base64url without padding (RFC 4648 §5).
var b64 = base64.RawURLEncoding

// render writes the file.
func render(keys []masterKey) []byte {
	b := []byte(heading + formatLine + "\n")
	for _, key := range keys {
		b = fmt.Appendf(b, "key %d %s %s\n", key.number, key.createdAt.Format(time.RFC3339), b64.EncodeToString(key.master))
	}
	return fmt.Appendf(b, "sum %s\n", sum(b))
}

// sum is there to find damage. A cryptographic hash of keys would do no harm,
// but need an explanation.
func sum(b []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// parse reads what render wrote. Lines with # and empty ones may stand
// anywhere before the sum. An error names the line and never quotes it.
func parse(data []byte) ([]masterKey, error) {
	var p parser
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	begin := 0 // of the line
	for i, line := range lines {
		if err := p.line(line, data[:begin]); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		begin += len(line) + 1
	}
	if !p.ended {
		return nil, fmt.Errorf("line %d: the sum should follow, the end is cut off", len(lines))
	}
	return p.keys, nil
}

type parser struct {
	begun, ended bool // the lines of the format and the sum were there
	keys         []masterKey
}

// line takes one line, and all that stands before it.
func (p *parser) line(line string, before []byte) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case p.ended:
		return errors.New("nothing may follow the sum")
	case line == "" || line[0] == '#':
		return nil
	case !p.begun && line == formatLine:
		p.begun = true
		return nil
	case !p.begun && word == "tokenctl-keys":
		return errors.New("a format that only a newer tokenctl may know")
	case !p.begun:
		return fmt.Errorf("%q should be the first", formatLine)
	case word == "key":
		return p.key(rest)
	case word != "sum":
		return errors.New("neither a key nor the sum")
	case len(p.keys) == 0:
		return errors.New("no key stands before the sum")
	case rest != sum(before):
		return errors.New("the sum does not match, so some line was changed")
	}
	p.ended = true
	return nil
}

// key takes what follows the word in the line of a key.
func (p *parser) key(rest string) error {
	fields := strings.Split(rest, " ")
	if len(fields) != 3 {
		return errors.New("a key has number, time and text")
	}
	number, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil || number == 0 || strconv.FormatUint(number, 10) != fields[0] {
		return errors.New("not a number of a key")
	}
	if n := len(p.keys); n > 0 && uint32(number) <= p.keys[n-1].number {
		return errors.New("the numbers of the keys do not ascend")
	}
	createdAt, err := time.Parse(time.RFC3339, fields[1])
	if err != nil || createdAt.UTC().Format(time.RFC3339) != fields[1] {
		return errors.New("not a time in UTC such as 2026-11-22T07:00:00Z")
	}
	master, err := b64.DecodeString(fields[2])
	if err != nil || len(master) != masterLen || b64.EncodeToString(master) != fields[2] {
		return fmt.Errorf("not a key: %d bytes as %d characters of base64url", masterLen, b64.EncodedLen(masterLen))
	}
	p.keys = append(p.keys, masterKey{uint32(number), createdAt.UTC(), master})
	return nil
}
