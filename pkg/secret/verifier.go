package secret

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Verifier is what is stored instead of a secret. Together with the key file
// it can check the secret; it cannot give it back, and without the key file it
// cannot even test a guess. There are two schemes:
//
//   - fast: byte 1, the key number as uvarint, and 32 bytes of HMAC-SHA-256
//     over use and secret. For secrets of at least 112 bits (NIST SP 800-63B-4
//     §3.1.2.2), which nobody can guess however fast the hash.
//   - slow: byte 2 and a PHC string
//     $argon2id$v=19$m=…,t=…,p=…,keyid=<base64 of the decimal key number>$<salt>$<hash>
//     with 16 bytes of salt, whose hash is not argon2id's output (RFC 9106) but
//     32 bytes of HMAC-SHA-256 over use and that output.
type Verifier []byte

// KeyNumber returns the number of the key that the verifier needs. The error
// is [ErrVerifier].
func (v Verifier) KeyNumber() (uint32, error) {
	p, err := v.parse()
	return p.key, err
}

// Slow reports whether the verifier is of the slow scheme.
func (v Verifier) Slow() bool { return len(v) > 0 && v[0] == slowScheme }

const saltLen = 16

// parts are the contents of a verifier; params and salt only of a slow one.
type parts struct {
	key    uint32
	params Argon2
	salt   [saltLen]byte
	digest [sha256.Size]byte
}

func (v Verifier) parse() (parts, error) {
	if v.Slow() {
		return parsePHC(string(v[1:]))
	}
	if len(v) == 0 || v[0] != fastScheme {
		return parts{}, fmt.Errorf("%w: unknown scheme", ErrVerifier)
	}
	var p parts
	number, size := binary.Uvarint(v[1:])
	if size <= 0 || number == 0 || number > math.MaxUint32 || len(v) != 1+size+len(p.digest) {
		return parts{}, fmt.Errorf("%w: length or key number", ErrVerifier)
	}
	if size > 1 && v[size] == 0 {
		return parts{}, fmt.Errorf("%w: key number is not the shortest", ErrVerifier)
	}
	p.key = uint32(number)
	copy(p.digest[:], v[1+size:])
	return p, nil
}

// fastVerifier encodes a verifier of the fast scheme.
func fastVerifier(key uint32, digest *[sha256.Size]byte) Verifier {
	v := make(Verifier, 0, 1+binary.MaxVarintLen32+len(digest))
	v = append(v, fastScheme)
	v = binary.AppendUvarint(v, uint64(key))
	return append(v, digest[:]...)
}

// slowVerifier encodes a verifier of the slow scheme.
func slowVerifier(p *parts) Verifier {
	return append(Verifier{slowScheme}, p.phc()...)
}

// b64 is the encoding of PHC strings: standard, no padding.
var b64 = base64.RawStdEncoding

const phcFormat = "$argon2id$v=19$m=%d,t=%d,p=%d,keyid=%s$%s$%s"

func (p *parts) phc() string {
	number := strconv.AppendUint(nil, uint64(p.key), 10)
	return fmt.Sprintf(phcFormat, p.params.Memory, p.params.Time, p.params.Threads,
		b64.EncodeToString(number), b64.EncodeToString(p.salt[:]), b64.EncodeToString(p.digest[:]))
}

// parsePHC reads what phc writes, and nothing else: what was read is written
// again and compared. So there is one spelling of each verifier, and the
// leniencies of strconv and encoding/base64 (signs, zeros, line breaks) do not
// matter.
func parsePHC(text string) (parts, error) {
	var p parts
	bad := func(what string) (parts, error) {
		return parts{}, fmt.Errorf("%w: argon2id string: %s", ErrVerifier, what)
	}
	fields := strings.Split(text, "$") // "", argon2id, v=19, parameters, salt, hash
	if len(fields) != 6 {
		return bad("number of fields")
	}
	params := strings.Split(fields[3], ",")
	if len(params) != 4 {
		return bad("number of parameters")
	}
	memory, ok1 := parameter(params[0], "m=", 32)
	time, ok2 := parameter(params[1], "t=", 32)
	threads, ok3 := parameter(params[2], "p=", 8)
	keyid, ok4 := strings.CutPrefix(params[3], "keyid=")
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return bad("parameters")
	}
	p.params = Argon2{Memory: uint32(memory), Time: uint32(time), Threads: uint8(threads)}
	if err := p.params.Validate(); err != nil {
		return bad(err.Error())
	}
	decimal, err := b64.DecodeString(keyid)
	if err != nil {
		return bad("keyid")
	}
	number, ok := parameter(string(decimal), "", 32)
	if !ok || number == 0 {
		return bad("keyid")
	}
	p.key = uint32(number)
	if !decodeExactly(p.salt[:], fields[4]) || !decodeExactly(p.digest[:], fields[5]) {
		return bad("salt or hash")
	}
	if p.phc() != text {
		return bad("not as we write it")
	}
	return p, nil
}

// parameter reads a decimal of at most so many bits after its name.
func parameter(text, name string, bits int) (uint64, bool) {
	decimal, named := strings.CutPrefix(text, name)
	value, err := strconv.ParseUint(decimal, 10, bits)
	return value, named && err == nil
}

// decodeExactly decodes text if that fills dst.
func decodeExactly(dst []byte, text string) bool {
	b, err := b64.DecodeString(text)
	return err == nil && copy(dst, b) == len(b) && len(b) == len(dst)
}
