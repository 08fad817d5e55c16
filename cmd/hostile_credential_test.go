//go:build linux

package cmd_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

// claims are a header or a payload, in no order of their own.
type claims = map[string]any

// jwtParts takes a JWT apart.
func jwtParts(t *testing.T, jwt string) (header, payload claims, signature string) {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("%.20q has %d parts", jwt, len(parts))
	}
	for i, to := range []*claims{&header, &payload} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, payload, parts[2]
}

func b64(text []byte) string { return base64.RawURLEncoding.EncodeToString(text) }

func part(t *testing.T, c claims) string {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b64(text)
}

// with is a copy of claims with one of them changed, or (nil) left out.
func with(c claims, name string, value any) claims {
	c = maps.Clone(c)
	c[name] = value
	if value == nil {
		delete(c, name)
	}
	return c
}

// Every trick with JWTs that has a name: refused, and told from "cannot tell".
func TestHostileJWT(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	good := m.must(s.refresh, "exchange")
	m.must(good, "verify")
	m.must(good+"\n", "verify") // one line end is no part of it
	header, payload, signature := jwtParts(t, good)
	head, body, _ := strings.Cut(good[:strings.LastIndexByte(good, '.')], ".")
	var set struct{ Keys []claims }
	if err := json.Unmarshal([]byte(m.must("", "admin", "key", "jwks")), &set); err != nil || len(set.Keys) == 0 {
		t.Fatalf("%v, %v", set, err)
	}
	public, err := base64.RawURLEncoding.DecodeString(set.Keys[0]["x"].(string))
	if err != nil {
		t.Fatal(err)
	}
	ours, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	hs256 := func(h claims, key []byte) string {
		text := part(t, h) + "." + body
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		return text + "." + b64(mac.Sum(nil))
	}
	mine := func(h, p claims) string {
		text := part(t, h) + "." + part(t, p)
		return text + "." + b64(ed25519.Sign(private, []byte(text)))
	}
	jwk := claims{"kty": "OKP", "crv": "Ed25519", "x": b64(ours), "kid": header["kid"]}
	other := newMachine(t)
	foreign := other.must(other.must("", "generate", "refresh", "ci", "--role", "reader"), "exchange")
	raw := func(text string) string { return b64([]byte(text)) }
	plain, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}

	tricks := map[string]string{
		"none":                      part(t, with(header, "alg", "none")) + "." + body + ".",
		"None with its signature":   part(t, with(header, "alg", "None")) + "." + body + "." + signature,
		"nOnE":                      part(t, with(header, "alg", "nOnE")) + "." + body + ".",
		"no algorithm":              part(t, with(header, "alg", nil)) + "." + body + "." + signature,
		"empty algorithm":           part(t, with(header, "alg", "")) + "." + body + "." + signature,
		"algorithm of another type": part(t, with(header, "alg", []string{"EdDSA"})) + "." + body + "." + signature,
		"no signature":              head + "." + body + ".",
		"HS256, public key":         hs256(with(header, "alg", "HS256"), public),
		"HS256, its text":           hs256(with(header, "alg", "HS256"), []byte(set.Keys[0]["x"].(string))),
		"HS256, empty key":          hs256(with(header, "alg", "HS256"), nil),
		"HS256 called EdDSA":        hs256(header, public),
		"ES256":                     part(t, with(header, "alg", "ES256")) + "." + body + "." + signature,
		"type JWT":                  part(t, with(header, "typ", "JWT")) + "." + body + "." + signature,
		"no type":                   part(t, with(header, "typ", nil)) + "." + body + "." + signature,
		"own key":                   mine(header, payload),
		"own key in the header":     mine(with(header, "jwk", jwk), payload),
		"own key, no kid":           mine(with(with(header, "jwk", jwk), "kid", nil), payload),
		"jku":                       mine(with(header, "jku", "https://evil.example/jwks"), payload),
		"x5u":                       mine(with(header, "x5u", "file:///etc/passwd"), payload),
		"crit":                      mine(with(header, "crit", []string{"exp"}), payload),
		"crit, null":                raw(`{"crit":null,`+string(plain)[1:]) + "." + body + "." + signature,
		"b64 false":                 mine(with(header, "b64", false), payload),
		"kid: path":                 mine(with(header, "kid", "../../../../../../etc/passwd"), payload),
		"kid: empty":                mine(with(header, "kid", ""), payload),
		"kid: NUL":                  mine(with(header, "kid", strings.Repeat("\x00", 43)), payload),
		"kid: number":               mine(with(header, "kid", 1), payload),
		"kid: next key":             mine(with(header, "kid", set.Keys[len(set.Keys)-1]["kid"]), payload),
		"kid: huge":                 mine(with(header, "kid", strings.Repeat("k", 10_000)), payload),
		"header twice":              raw(`{"alg":"none",`+string(plain)[1:]) + "." + body + ".",
		"header in other case":      raw(`{"ALG":"none",`+string(plain)[1:]) + "." + body + "." + signature,
		"header is a list":          raw("[]") + "." + body + "." + signature,
		"header is deep":            raw(strings.Repeat("[", 10_000)) + "." + body + "." + signature,
		"header is garbage":         b64(garbage(50)) + "." + body + "." + signature,
		"more for the same":         head + "." + part(t, with(payload, "sub", "local/alice")) + "." + signature,
		"lives for ever":            head + "." + part(t, with(payload, "exp", 1<<50)) + "." + signature,
		"other token's signature":   head + "." + body + "." + s.jwt[strings.LastIndexByte(s.jwt, '.')+1:],
		"of another store":          foreign,
		"of a revoked token":        s.jwt,
		"two parts":                 head + "." + body,
		"four parts":                good + ".x",
		"five parts":                head + ".x." + body + ".x." + signature,
		"only dots":                 "..",
		"padding":                   good + "=",
		"padding inside":            head + "=." + body + "." + signature,
		"line break inside":         head + ".\n" + body + "." + signature,
		"space before":              " " + good,
		"space behind":              good + " ",
		"two line ends":             good + "\n\n",
		"NUL behind":                good + "\x00",
		"upper case":                strings.ToUpper(good),
		"Bearer":                    "Bearer " + good,
		"huge":                      good + strings.Repeat("A", 17_000),
		"very huge":                 strings.Repeat("A.", 1) + strings.Repeat("A", 5<<20) + ".A",
		"as a user code":            s.id + ":" + good,
	}
	// Another spelling of the same signature: its last character has bits to
	// spare.
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(digits, good[len(good)-1])
	tricks["other spelling"] = good[:len(good)-1] + string(digits[last^1])

	for name, text := range tricks {
		if text == good {
			t.Fatalf("%s is no trick", name)
		}
		r := m.run(text, "verify")
		if r.code != 3 {
			t.Errorf("%s: %v", name, r)
		}
		if strings.Contains(r.err, signature[:20]) {
			t.Errorf("%s: the message holds it: %v", name, r)
		}
	}
	m.ends(m.run(good, "exchange"), 3)
	m.ends(m.run(good, "verify", "--role", "admin"), 3)
	m.ends(m.run(good, "verify", "--role", "tokenctl:admin"), 3)
	m.ends(m.run(good, "verify", "--connection", "other"), 3)

	// It goes with its parent, and with its owner's rights.
	m.must("", "suspend", "ci")
	m.ends(m.run(good, "verify"), 3)
	m.must("", "resume", "ci")
	m.must(good, "verify")
	m.ends(m.run(tricks["more for the same"], "revoke", "--secret-stdin"), 3)
	m.must(good, "revoke", "--secret-stdin") // who has it may end it
	m.ends(m.run(good, "verify"), 3)
	m.ends(m.run(s.refresh, "exchange"), 3)
}

// A credential is what was handed out, byte for byte.
func TestHostileCredential(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	code, pass, _ := strings.Cut(s.pair, ":")
	for _, text := range []string{s.pair, pass, s.refresh, s.refresh + "\n", s.refresh + "\r\n"} {
		m.must(text, "verify")
	}
	forged := pass[:20] + strings.Repeat("0", 32)
	for name, text := range map[string]string{
		"code alone": code, "code and colon": code + ":", "colon and passcode": ":" + pass, "two colons": code + "::" + pass, "colon behind": s.pair + ":",
		"code twice": code + ":" + s.pair, "the other way round": pass + ":" + code, "code in upper case": strings.ToUpper(code) + ":" + pass,
		"another's code": s.id + ":" + pass, "code with refresh token": s.id + ":" + s.refresh, "code and its refresh token": code + ":" + s.refresh,
		"space before": " " + pass, "space behind": pass + " ", "tab": pass + "\t", "space inside": code + ": " + pass, "two line ends": pass + "\n\n", "line before": "\n" + pass,
		"line end inside": pass[:30] + "\n" + pass[30:], "carriage returns": pass + "\r\r\n", "NUL behind": pass + "\x00", "NUL before": "\x00" + pass, "NUL inside": pass[:30] + "\x00" + pass[31:],
		"byte order mark": "\ufeff" + pass, "zero-width space": pass[:10] + "\u200b" + pass[10:], "full-width colon": code + "：" + pass, "Cyrillic": strings.Replace(pass, "tkp", "tкp", 1),
		"percent": strings.Replace(s.pair, ":", "%3A", 1), "quoted": `"` + pass + `"`, "Basic": "Basic " + b64([]byte(s.pair)), "Bearer": "Bearer " + s.refresh, "JSON": `{"refresh_token":"` + s.refresh + `"}`,
		"other prefix": "tkr" + pass[3:], "service prefix": "tks" + pass[3:], "upper case": strings.ToUpper(pass), "lower case": strings.ToLower(pass), "short": pass[:57], "long": pass + "0",
		"prefix": "tkp_", "one character": pass[:40] + "_" + pass[41:], "right sum, wrong secret": forged + crcOf(forged), "of nobody": "tkp_0000000000000000" + strings.Repeat("0", 32) + crcOf("tkp_0000000000000000"+strings.Repeat("0", 32)),
		"revoked": s.revoked, "deleted": s.deleted, "suspended": s.suspended, "garbage": string(garbage(58)), "high bytes": strings.Repeat("\xff", 58), "huge": strings.Repeat("A", 20<<20), "16 KiB": strings.Repeat("tkp_", 4<<10),
		"colons": strings.Repeat(":", 1000), "dots": strings.Repeat(".", 1000), "one colon": ":", "one dot": ".",
	} {
		for _, args := range [][]string{{"verify"}, {"exchange"}} {
			if r := m.run(text, args...); r.code != 3 {
				t.Errorf("%s: %v", name, r)
			}
		}
	}
	for _, stdin := range []string{"", "\n", "\r\n"} {
		m.ends(m.run(stdin, "verify"), 2, "empty")
	}
	// Of the wrong kind.
	m.ends(m.run(pass, "exchange"), 3)
	m.ends(m.run(s.pair, "exchange"), 3)
	m.ends(m.run(s.refresh, "exchange", "--role", "tokenctl:admin"), 3)
	m.ends(m.run(s.refresh, "exchange", "--resource", "https://evil.example"), 3)
	m.must(s.refresh, "verify")
}
