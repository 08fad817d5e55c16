package secret

import (
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
)

// Form is how the text of a secret is built.
type Form uint8

// The forms. The first four begin with a prefix that tells them apart, hold an
// id, which is that of their token if they have one, and end in a checksum; see
// [New]. The plain ones are
// for applications that know only passwords.
const (
	Passcode       Form = iota + 1 // tkp_…, of a user token
	RefreshToken                   // tkr_…
	StrongPassword                 // tks_…, of a service token
	ClientSecret                   // tkc_…, of an OAuth client
	Plain08                        // 8 letters and digits
	Plain15                        // 15 letters and digits
)

// forms describes each form. Plain forms have no prefix, id and checksum.
var forms = [...]struct {
	name   string
	prefix string
	random int // random characters, of base62
}{
	Passcode:       {"passcode", "tkp_", 32},
	RefreshToken:   {"refresh token", "tkr_", 32},
	StrongPassword: {"strong password", "tks_", 32},
	ClientSecret:   {"client secret", "tkc_", 32},
	Plain08:        {"plain08", "", 8},
	Plain15:        {"plain15", "", 15},
}

// The places in the text of a prefixed form:
// prefix | id, 16 | random, 32 | checksum, 6.
const (
	idAt     = 4
	randomAt = idAt + idLen
	sumAt    = randomAt + 32
	textLen  = sumAt + 6
)

// alphabet is base62, in the order of its digits in the checksum.
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var alphabetDigits = digits(alphabet)

// known reports whether f is one of the constants.
func (f Form) known() bool { return f >= Passcode && int(f) < len(forms) }

// prefixed reports whether f has a prefix, an id and a checksum.
func (f Form) prefixed() bool { return f.known() && forms[f].prefix != "" }

// String returns the name of the form, such as "passcode" or "plain08".
func (f Form) String() string {
	if !f.known() {
		return fmt.Sprintf("form %d", uint8(f))
	}
	return forms[f].name
}

// Bits returns how many bits of entropy a secret of the form has: 190.5 with a
// prefix, 47.6 or 89.3 plain. An unknown form has none.
func (f Form) Bits() float64 {
	if !f.known() {
		return 0
	}
	return float64(forms[f].random) * math.Log2(float64(len(alphabet)))
}

// New makes a secret from crypto/rand. A prefixed form is 58 characters:
// prefix, the id's text, 32 of base62 (0-9, A-Z, a-z), and the CRC-32 (IEEE)
// of all these as 6 base62 digits, most significant first. So it is one word
// for a double click, and a scanner finds it offline: by
// tk[cprs]_[0-9a-hjkmnp-tv-z]{16}[0-9A-Za-z]{38}, and then by the checksum.
// A plain form is its 8 or 15 characters of base62 and ignores id.
//
// New panics for a form that is none of the constants.
func New(form Form, id ID) Secret {
	if !form.known() {
		panic("secret: New of unknown " + form.String())
	}
	var buf [textLen]byte
	if !form.prefixed() {
		text := buf[:forms[form].random]
		fillRandom(text)
		return FromText(string(text))
	}
	copy(buf[:], forms[form].prefix)
	id.AppendTo(buf[:idAt])
	fillRandom(buf[randomAt:sumAt])
	putChecksum((*[textLen - sumAt]byte)(buf[sumAt:]), crc32.ChecksumIEEE(buf[:sumAt]))
	return FromText(string(buf[:]))
}

// fillRandom fills dst with characters of the alphabet, each as likely as any
// other: of the 256 bytes the last 256 mod 62 are thrown away, since taking
// the remainder of them would favour the first characters of the alphabet.
func fillRandom(dst []byte) {
	const fair = 256 - 256%len(alphabet)
	var pool [64]byte
	for len(dst) > 0 {
		rand.Read(pool[:]) // never fails: crypto/rand ends the program instead
		for _, b := range pool {
			if int(b) < fair && len(dst) > 0 {
				dst[0] = alphabet[int(b)%len(alphabet)]
				dst = dst[1:]
			}
		}
	}
}

// putChecksum writes sum in base62. Six digits hold 35.7 bits.
func putChecksum(dst *[textLen - sumAt]byte, sum uint32) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = alphabet[sum%uint32(len(alphabet))]
		sum /= uint32(len(alphabet))
	}
}

// Text is what [Parse] found in a text.
type Text struct {
	Form   Form
	ID     ID
	Secret Secret // the whole text
}

// Made once, since whoever sends garbage should not make us allocate.
var (
	errPrefix   = fmt.Errorf("%w: it begins with none of tkc_, tkp_, tkr_, tks_", ErrMalformed)
	errLength   = fmt.Errorf("%w: its length is not %d", ErrMalformed, textLen)
	errAlphabet = fmt.Errorf("%w: it has a character that is none of ours", ErrMalformed)
	errChecksum = fmt.Errorf("%w: its checksum does not match, probably a typing error", ErrMalformed)
	errPlain    = fmt.Errorf("%w: that form has no plain text", ErrMalformed)
	errPlain08  = fmt.Errorf("%w: it is not 8 letters and digits", ErrMalformed)
	errPlain15  = fmt.Errorf("%w: it is not 15 letters and digits", ErrMalformed)
)

// Parse reads a secret of a prefixed form, exactly as [New] made it: nothing
// is trimmed, cut or folded. That a text parses proves only that it was
// written down correctly. The error wraps [ErrMalformed] and holds nothing of
// the text. Parse does not allocate.
func Parse(text string) (Text, error) {
	form := formOf(text)
	if form == 0 {
		return Text{}, errPrefix
	}
	if len(text) != textLen {
		return Text{}, errLength
	}
	id, ok := decodeID(text[idAt:randomAt])
	if !ok || !inAlphabet(text[randomAt:]) {
		return Text{}, errAlphabet
	}
	var want [textLen - sumAt]byte
	putChecksum(&want, crc32.ChecksumIEEE(view(text[:sumAt])))
	if string(want[:]) != text[sumAt:] {
		return Text{}, errChecksum
	}
	return Text{Form: form, ID: id, Secret: FromText(text)}, nil
}

// formOf returns the form whose prefix text begins with, or 0.
func formOf(text string) Form {
	if len(text) < idAt || text[:2] != "tk" || text[3] != '_' {
		return 0
	}
	switch text[2] {
	case 'p':
		return Passcode
	case 'r':
		return RefreshToken
	case 's':
		return StrongPassword
	case 'c':
		return ClientSecret
	}
	return 0
}

// inAlphabet reports whether text is base62 alone.
func inAlphabet(text string) bool {
	var bad byte
	for _, c := range []byte(text) {
		bad |= alphabetDigits[c]
	}
	return bad&noDigit == 0
}

// ParsePlain reads a secret of the form [Plain08] or [Plain15]: exactly 8 or
// 15 ASCII letters and digits. The error wraps [ErrMalformed] and holds
// nothing of the text.
func ParsePlain(form Form, text string) (Secret, error) {
	var malformed error
	switch form {
	case Plain08:
		malformed = errPlain08
	case Plain15:
		malformed = errPlain15
	default:
		return Secret{}, errPlain
	}
	if len(text) != forms[form].random || !inAlphabet(text) {
		return Secret{}, malformed
	}
	return FromText(text), nil
}

// Contains reports whether a secret of a prefixed form, with the right
// checksum, stands anywhere in arg: on a command line, in a URL, in a name.
func Contains(arg string) bool {
	for {
		at := strings.Index(arg, "tk")
		if at < 0 || len(arg)-at < textLen {
			return false
		}
		arg = arg[at:]
		if _, err := Parse(arg[:textLen]); err == nil {
			return true
		}
		arg = arg[1:]
	}
}
