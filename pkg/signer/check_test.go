package signer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func headerJSON(alg token.Algorithm, kid string) string {
	return fmt.Sprintf(`{"alg":"%s","kid":"%s","typ":"at+jwt"}`, alg, kid)
}

func TestCheckRefusesChangedTokens(t *testing.T) {
	b := newBench(t, algorithms...)
	for _, alg := range algorithms {
		jwt := b.sign(alg, claims())
		head, rest, _ := strings.Cut(jwt, ".")
		payload, sig, _ := strings.Cut(rest, ".")
		kid := b.activeID(alg)
		evil := claims()
		evil.Subject = "corp/admin"
		evilPayload := encode(string(evil.appendJSON(nil)))
		for name, text := range map[string]string{
			"alg none":                encode(headerJSON("none", kid)) + "." + payload + ".",
			"alg none, old signature": encode(headerJSON("none", kid)) + "." + payload + "." + sig,
			"alg None":                encode(headerJSON("None", kid)) + "." + payload + ".",
			"no alg":                  encode(`{"kid":"`+kid+`","typ":"at+jwt"}`) + "." + payload + "." + sig,
			"other payload":           head + "." + evilPayload + "." + sig,
			"no signature":            head + "." + payload + ".",
			"no payload":              head + ".." + sig,
			"two parts":               head + "." + payload,
			"one part":                head,
			"dots":                    "..",
			"more dots":               "....",
			"fourth part":             jwt + ".",
			"fourth part, longer":     jwt + ".AAAA",
			"five parts":              head + "." + payload + "." + sig + "." + sig + "." + sig,
			"trailing letter":         jwt + "A",
			"trailing four letters":   jwt + "AAAA",
			"trailing space":          jwt + " ",
			"trailing line break":     jwt + "\n",
			"trailing zero":           jwt + "\x00",
			"leading space":           " " + jwt,
			"line break in payload":   head + "." + payload[:9] + "\r\n" + payload[9:] + "." + sig,
			"line break in header":    head[:9] + "\n" + head[9:] + "." + payload + "." + sig,
			"padded signature":        jwt + "==",
			"padded header":           head + "=." + payload + "." + sig,
			"standard alphabet":       head + "." + payload + "." + strings.NewReplacer("-", "+", "_", "/").Replace("-"+sig[1:]),
			"scheme":                  "Bearer " + jwt,
			"JSON form":               `{"protected":"` + head + `","payload":"` + payload + `","signature":"` + sig + `"}`,
			"empty":                   "",
			"refresh token":           "tkr_06bxh7m4q0w8s2d4abcdefghijklmnopqrstuvwxyzabcdef012345",
			"endless":                 jwt + strings.Repeat("A", MaxSize),
			"swapped parts":           payload + "." + head + "." + sig,
		} {
			t.Run(fmt.Sprint(alg, " ", name), func(t *testing.T) { b.refused(text, start) })
		}
	}
	if n := len(b.seen.young); n != 0 {
		t.Errorf("%d refused tokens are remembered", n)
	}
}

// Every character counts, and every bit of every character.
func TestCheckRefusesEveryChangedCharacter(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	b := newBench(t, algorithms...)
	for _, alg := range algorithms {
		jwt := b.sign(alg, claims())
		if _, err := b.check(jwt, start); err != nil {
			t.Fatal(err)
		}
		last := strings.LastIndexByte(jwt, '.')
		for i := range jwt {
			at := strings.IndexByte(alphabet, jwt[i])
			if at < 0 {
				continue
			}
			b.refused(jwt[:i]+string(alphabet[at^1])+jwt[i+1:], start)
			if i == last-1 || i == len(jwt)-1 || i == strings.IndexByte(jwt, '.')-1 {
				for other := range alphabet { // also those that differ in unused bits alone
					if other != at {
						b.refused(jwt[:i]+string(alphabet[other])+jwt[i+1:], start)
					}
				}
			}
		}
	}
}

func TestCheckRefusesConfusedAlgorithms(t *testing.T) {
	b := newBench(t, algorithms...)
	payload := string(claims().json())
	for _, alg := range algorithms {
		kid := b.activeID(alg)
		for _, other := range algorithms {
			if other == alg {
				continue
			}
			b.refused(b.signed(other, headerJSON(other, kid), payload), start) // alg of the signature, kid of another
			b.refused(b.signed(other, headerJSON(alg, kid), payload), start)   // header of one, signature of another
			b.refused(b.signed(alg, headerJSON(other, kid), payload), start)   // right signature, wrong alg
		}
		public := b.public(kid)
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		jwk, err := json.Marshal(jose.JSONWebKey{Key: public})
		if err != nil {
			t.Fatal(err)
		}
		secrets := [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), jwk, []byte(kid), nil}
		if k, ok := public.(ed25519.PublicKey); ok {
			secrets = append(secrets, k)
		}
		for _, secret := range secrets {
			text := encode(headerJSON("HS256", kid)) + "." + encode(payload)
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(text))
			b.refused(text+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), start)
		}
	}
}

func (c Claims) json() []byte { return c.appendJSON(nil) }

func (b *bench) public(kid string) (public crypto.PublicKey) {
	b.Helper()
	b.view(func(r store.Reader) error {
		keys, err := b.List(r)
		for _, k := range keys {
			if k.ID == kid {
				public = k.Public
			}
		}
		return err
	})
	return public
}

// All of these bear a good signature of the active key.
func TestCheckReadsHeadersStrictly(t *testing.T) {
	b := newBench(t, token.EdDSA)
	kid := b.activeID(token.EdDSA)
	var next string
	b.view(func(r store.Reader) error {
		ring, err := rings.Get(r, string(token.EdDSA))
		next = ring.next
		return err
	})
	stranger := b.pair(token.EdDSA)
	payload := string(claims().json())
	good := `"alg":"EdDSA","kid":"` + kid + `"`
	for h, accepted := range map[string]bool{
		`{` + good + `,"typ":"at+jwt"}`:                                                   true,
		`{` + good + `,"typ":"application/at+jwt"}`:                                       true,
		`{ "typ":"at+jwt", ` + good + ` }`:                                                true,
		`{` + good + `,"typ":"at+jwt","jku":"http://evil.example/","x5u":"http://evil/"}`: true, // ignored
		`{` + good + `,"typ":"at+jwt","jwk":{"kty":"oct","k":"AAAA"},"x5c":["AAAA"]}`:     true, // ignored
		`{` + good + `,"typ":"JWT"}`:                                                      false,
		`{` + good + `,"typ":"jwt"}`:                                                      false,
		`{` + good + `,"typ":"id+jwt"}`:                                                   false,
		`{` + good + `,"typ":"at+jwt; x"}`:                                                false,
		`{` + good + `,"typ":["at+jwt"]}`:                                                 false,
		`{` + good + `,"typ":null}`:                                                       false,
		`{` + good + `}`:                                                                  false,
		`{` + good + `,"TYP":"at+jwt"}`:                                                   false,
		`{` + good + `,"typ":"JWT","typ":"at+jwt"}`:                                       false,
		`{` + good + `,"typ":"at+jwt","typ":"JWT"}`:                                       false,
		`{` + good + `,"typ":"at+jwt","alg":"EdDSA"}`:                                     false,
		`{` + good + `,"typ":"at+jwt","crit":["exp"],"exp":1}`:                            false,
		`{` + good + `,"typ":"at+jwt","crit":["b64"],"b64":true}`:                         false,
		`{` + good + `,"typ":"at+jwt","crit":[]}`:                                         false,
		`{` + good + `,"typ":"at+jwt","crit":null}`:                                       false,
		`{"alg":"EdDSA","typ":"at+jwt"}`:                                                  false,
		`{"alg":"EdDSA","typ":"at+jwt","kid":""}`:                                         false,
		`{"alg":"EdDSA","typ":"at+jwt","kid":"` + kid[:42] + `"}`:                         false,
		`{"alg":"EdDSA","typ":"at+jwt","kid":"` + kid + `\u0000"}`:                        false,
		`{"alg":"EdDSA","typ":"at+jwt","kid":"` + stranger.ID() + `"}`:                    false,
		`{"alg":"EdDSA","typ":"at+jwt","kid":"` + next + `"}`:                             false,
		`{"alg":"EdDSA","typ":"at+jwt","kid":7}`:                                          false,
		`{"alg":"eddsa","typ":"at+jwt","kid":"` + kid + `"}`:                              false,
		`{"alg":["EdDSA"],"typ":"at+jwt","kid":"` + kid + `"}`:                            false,
		`{` + good + `,"typ":"at+jwt"} {}`:                                                false,
		`[` + kid + `]`:                                                                   false,
		``:                                                                                false,
		`null`:                                                                            false,
		strings.Repeat(`{"a":`, 2000) + `1` + strings.Repeat(`}`, 2000):                   false,
		`{` + good + `,"typ":"at+jwt","x":` + strings.Repeat(`[`, 5000):                   false,
		`{` + good + `,"typ":"at+jwt","jwk":` + jwkOf(t, stranger) + `,"kid":"x"}`:        false,
		`{"alg":"EdDSA","typ":"at+jwt","kid":"` + stranger.ID() + `","jwk":` + jwkOf(t, stranger) + `}`: false,
	} {
		jwt := b.signed(token.EdDSA, h, payload)
		if !accepted {
			b.refused(jwt, start)
		} else if _, err := b.check(jwt, start); err != nil {
			t.Errorf("%s: %v", h, err)
		}
	}

	// A signature of the next key, which does not sign yet.
	var sealed []byte
	b.view(func(r store.Reader) (err error) {
		sealed, err = b.unseal(r, next)
		return err
	})
	k, err := newSigningKey(next, token.EdDSA, sealed)
	b.must(err)
	text := k.header + "." + encode(payload)
	sig, err := k.sign([]byte(text))
	b.must(err)
	b.refused(text+"."+base64.RawURLEncoding.EncodeToString(sig), start)

	// A stranger's signature, with the key to check it in the header.
	k, err = newSigningKey(stranger.id, token.EdDSA, stranger.private)
	b.must(err)
	for _, id := range []string{kid, stranger.id} {
		text := encode(`{"alg":"EdDSA","typ":"at+jwt","kid":"`+id+`","jwk":`+jwkOf(t, stranger)+`}`) + "." + encode(payload)
		sig, err := k.sign([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		b.refused(text+"."+base64.RawURLEncoding.EncodeToString(sig), start)
	}
}

func jwkOf(t *testing.T, p *Pair) string {
	public, err := x509.ParsePKIXPublicKey(p.public)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(jose.JSONWebKey{Key: public, KeyID: p.id})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// All of these bear a good header and signature of the active key.
func TestCheckReadsClaimsStrictly(t *testing.T) {
	b := newBench(t, token.EdDSA)
	h := headerJSON(token.EdDSA, b.activeID(token.EdDSA))
	change := func(name, value string) string {
		fields := map[string]json.RawMessage{}
		if err := json.Unmarshal(claims().json(), &fields); err != nil {
			t.Fatal(err)
		}
		fields[name] = json.RawMessage(value)
		if value == "" {
			delete(fields, name)
		}
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if _, err := b.check(b.signed(token.EdDSA, h, change("new_claim", `{"a":[1]}`)), start); err != nil {
		t.Errorf("a claim that is not known: %v", err)
	}
	if _, err := b.check(b.signed(token.EdDSA, h, change("amr", `["pwd"]`)), start); err != nil {
		t.Errorf("an array that means something else: %v", err)
	}
	if _, err := b.check(b.signed(token.EdDSA, h, change("long", `"`+strings.Repeat("x", 3000)+`"`)), start); err != nil {
		t.Errorf("a long claim: %v", err)
	}
	payloads := []string{
		change("too_long", `"`+strings.Repeat("x", MaxSize*3/4)+`"`),
		``, `null`, `[]`, `"x"`, `{}`, `{"exp":99999999999}`,
		string(claims().json()) + `{}`,
		strings.Replace(string(claims().json()), `{`, `{"sub":"corp/admin",`, 1),
		change("second", `["admin"]`),
		change(token.DefaultRoleClaim, ``), change(token.DefaultRoleClaim, `"admin"`), change(token.DefaultRoleClaim, `[1]`), change(token.DefaultRoleClaim, `null`),
		change("aud", `["urn:tokenctl:default"]`), change("tid", `"x"`), change("tid", `1`), change("scope", `["a"]`), change("scope", `null`),
	}
	for _, name := range []string{"iss", "sub", "aud", "jti", "client_id", "iat", "nbf", "exp"} {
		payloads = append(payloads, change(name, ``), change(name, `null`), change(name, `""`), change(name, `{}`), change(name, `true`))
	}
	for _, name := range []string{"iat", "nbf", "exp"} {
		for _, value := range []string{`0`, `-1`, `1e300`, `1.5`, `1e9`, `"1795330800"`, `9223372036854775808`, `253402300800`} {
			payloads = append(payloads, change(name, value))
		}
	}
	for _, payload := range payloads {
		b.refused(b.signed(token.EdDSA, h, payload), start)
	}
}

func TestCheckRefusesOtherFormsOfSignature(t *testing.T) {
	b := newBench(t, token.ES256)
	jwt := b.sign(token.ES256, claims())
	text, part := jwt[:strings.LastIndexByte(jwt, '.')], jwt[strings.LastIndexByte(jwt, '.')+1:]
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	r, s := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	order := b.public(b.activeID(token.ES256)).(*ecdsa.PublicKey).Params().N
	for _, sig := range [][]byte{
		der, make([]byte, 64), append([]byte{0}, raw...), raw[:63],
		append(append(append([]byte{}, raw[:32]...), 0), raw[32:]...),
		append(order.FillBytes(make([]byte, 32)), raw[32:]...),
		append(append([]byte{}, raw[:32]...), make([]byte, 32)...),
	} {
		b.refused(text+"."+base64.RawURLEncoding.EncodeToString(sig), start)
	}
}

func TestTimesHaveNoLeeway(t *testing.T) {
	b := newBench(t, token.EdDSA)
	c := claims()
	c.NotBefore = start.Add(time.Minute)
	jwt := b.sign(token.EdDSA, c)
	for range 2 { // the second time as remembered
		for at, want := range map[time.Duration]error{
			-time.Second:     token.ErrRefused,
			0:                token.ErrRefused,
			time.Minute - 1:  token.ErrRefused,
			time.Minute:      nil,
			time.Hour - 1:    nil,
			time.Hour:        ErrExpired,
			1000 * time.Hour: ErrExpired,
		} {
			if _, err := b.check(jwt, start.Add(at)); !errors.Is(err, want) {
				t.Errorf("after %s: %v", at, err)
			} else if want == nil && err != nil {
				t.Errorf("after %s: %v", at, err)
			}
		}
	}
}

func TestRememberedTokenEndsWithItsKey(t *testing.T) {
	b := newBench(t, token.EdDSA)
	c := claims()
	c.ExpiresAt = start.Add(100 * time.Hour)
	jwt := b.sign(token.EdDSA, c)
	if _, err := b.check(jwt, start); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.seen.get(sha256.Sum256([]byte(jwt))); !ok {
		t.Fatal("a good token is not remembered")
	}
	kid := b.activeID(token.EdDSA)
	b.rotate(token.EdDSA, start, 0) // as after a theft: nothing signed with it counts any more
	if _, err := b.check(jwt, start.Add(overlap-1)); err != nil {
		t.Error(err)
	}
	b.refused(jwt, start.Add(overlap))

	if _, err := b.check(jwt, start); err != nil {
		t.Fatal(err)
	}
	b.update(func(w store.Writer) error { return publics.Delete(w, kid) })
	b.refused(jwt, start)
}

func TestMemoryIsBounded(t *testing.T) {
	m := newProofs(100)
	busy := digest{31: 1}
	m.put(busy, &proof{kid: "busy"})
	for i := range 10_000 {
		m.put(digest{byte(i), byte(i >> 8)}, &proof{})
		if n := len(m.young) + len(m.old); n > 100 {
			t.Fatalf("%d entries", n)
		}
		if p, ok := m.get(busy); !ok || p.kid != "busy" {
			t.Fatalf("what is asked for all the time was forgotten after %d", i)
		}
	}
	m.drop(busy)
	if _, ok := m.get(busy); ok {
		t.Error("dropped, but there")
	}
}

func FuzzCheck(f *testing.F) {
	b := newBench(f, token.EdDSA, token.RS256)
	good := map[string]bool{}
	for _, alg := range []token.Algorithm{token.EdDSA, token.RS256} {
		jwt := b.sign(alg, claims())
		good[jwt] = true
		f.Add(jwt)
		f.Add(strings.Replace(jwt, ".", "..", 1))
		f.Add(encode(headerJSON("none", b.activeID(alg))) + strings.TrimLeft(jwt, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
	}
	f.Add("")
	f.Add("e30.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		here := *b
		here.TB = t
		_, err := here.check(text, start)
		if err == nil && !good[text] {
			t.Errorf("accepted %q, which nobody signed", text)
		}
		if err != nil && (good[text] || !errors.Is(err, token.ErrRefused) || strings.ContainsAny(err.Error(), "\n\x1b")) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// What is written by hand must be what any reader of JSON reads.
func FuzzClaims(f *testing.F) {
	f.Add("corp/alice", "roles", "read", int64(1795330800))
	f.Add("\"\\\u2028\x7f<é", "a\x00", "", int64(1))
	f.Fuzz(func(t *testing.T, subject, roleClaim, role string, issued int64) {
		c := claims()
		c.Subject, c.RoleClaim, c.Scope = subject, roleClaim, subject
		c.Roles = []token.Role{token.Role(strings.ToValidUTF8(role, "")), "x"}
		c.IssuedAt = time.Unix(issued, 0).UTC()
		c.NotBefore, c.ExpiresAt = c.IssuedAt, c.IssuedAt.Add(time.Second)
		if c.check() != nil {
			return
		}
		text := c.appendJSON(nil)
		if !json.Valid(text) {
			t.Fatalf("%s", text)
		}
		got, err := parseClaims(text)
		if err != nil || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", c) {
			t.Errorf("%#v became %#v, %v, through %s", c, got, err, text)
		}
	})
}
