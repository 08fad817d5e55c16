package secret

import (
	"crypto/subtle"
	"encoding/binary"
	"hash/crc32"
)

// tagLen is how many of the 32 characters are a tag: 29.8 bits. The 27 before
// them have 160.
const tagLen = 5

// NewTagged is [New] of a prefixed form, with a tag in the place of the last
// random characters: by it [Hasher.Tagged] knows a secret again that was made
// here for the same use, when nothing else of it is kept any more.
func (h *Hasher) NewTagged(form Form, use Use) Secret {
	if !form.prefixed() {
		panic("secret: NewTagged of " + form.String())
	}
	use.check()
	var buf [textLen]byte
	copy(buf[:], New(form, use.ID).Reveal())
	keys := h.state.Load().keys
	putTag(keys.byNumber[keys.current], use, &buf)
	putChecksum((*[textLen - sumAt]byte)(buf[sumAt:]), crc32.ChecksumIEEE(buf[:sumAt]))
	return FromText(string(buf[:]))
}

// Tagged reports whether a secret was made by NewTagged for the use, under any of
// the keys. Who guesses is right once in 900 million times: it is no proof that
// the secret is good.
func (h *Hasher) Tagged(use Use, s Secret) bool {
	use.check()
	if s.Len() != textLen {
		return false
	}
	is := 0
	for _, key := range h.state.Load().keys.byNumber {
		var buf [textLen]byte
		copy(buf[:], s.Reveal())
		putTag(key, use, &buf)
		is |= subtle.ConstantTimeCompare(buf[:sumAt], []byte(s.Reveal())[:sumAt])
	}
	return is == 1
}

// putTag writes the tag of what stands before it.
func putTag(key *macs, use Use, text *[textLen]byte) {
	digest := key.fast(use, FromText(string(text[:sumAt-tagLen])))
	sum := binary.BigEndian.Uint32(digest[:])
	for i := sumAt - 1; i >= sumAt-tagLen; i-- {
		text[i] = alphabet[sum%uint32(len(alphabet))]
		sum /= uint32(len(alphabet))
	}
}
