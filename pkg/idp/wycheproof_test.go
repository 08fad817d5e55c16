package idp

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/tokenctl/tokenctl/pkg/token"
)

const (
	symmetric   = "valid, but HS256 and its like are never accepted: whoever can check them can forge them"
	empty       = "valid, but a JWT has claims: an empty payload is none (RFC 7519 §7.2)"
	otherPSS    = "labelled valid, but the key says alg PS256 and the header PS384 (RFC 7517 §4.4)"
	noAlgorithm = "labelled valid, but the key says alg ES521, which does not exist (RFC 7518 §3.1 has ES512)"
	notBase64   = "labelled valid, but has a character inserted that is not of base64url, as its own comment says"
	roca        = "the weakness of a ROCA key is in how it was made; nothing in our libraries looks for it"
)

// mislabelled are the signature vectors whose label we do not follow, by tcId,
// with the reason. They are all labelled valid.
var mislabelled = map[int]string{
	1: symmetric, 348: symmetric, 352: symmetric, 357: symmetric, 358: symmetric, 359: symmetric, 376: symmetric, 377: symmetric,
	259: empty, 264: empty, 268: empty, 272: empty, 320: empty, 325: empty,
	346: otherPSS, 350: otherPSS,
	347: noAlgorithm, 351: noAlgorithm,
	372: notBase64, 373: notBase64,
}

// keyMislabelled are those of the key vectors. One is rightly labelled invalid.
var keyMislabelled = map[int]string{2: symmetric, 13: symmetric, 14: symmetric, 15: symmetric, 7: roca}

// The vectors of Project Wycheproof, through the check of signatures that every
// JWT of a provider goes through. Of the invalid ones none is accepted.
func TestWycheproofSignatures(t *testing.T) {
	invalid, valid := wycheproof(t, "json_web_signature_test.json", mislabelled)
	if invalid < 350 || valid < 30 {
		t.Errorf("only %d invalid and %d valid vectors were read", invalid, valid)
	}
}

// The vectors about keys: of these too.
func TestWycheproofKeys(t *testing.T) {
	invalid, _ := wycheproof(t, "json_web_key_test.json", keyMislabelled)
	if invalid < 15 {
		t.Errorf("only %d invalid vectors were read", invalid)
	}
}

func wycheproof(t *testing.T, file string, known map[int]string) (invalid, valid int) {
	t.Helper()
	text, err := os.ReadFile("../../testdata/wycheproof/" + file)
	must(t, err)
	var vectors struct {
		TestGroups []struct {
			Comment         string
			Public, Private strict.RawMessage
			Tests           []struct {
				TCID    int `json:"tcId"`
				Comment string
				JWS     any
				Result  string
			}
		}
	}
	must(t, json.Unmarshal(text, &vectors))
	used := 0
	for _, g := range vectors.TestGroups {
		keys := g.Public
		if keys == nil {
			keys = g.Private // of groups with a secret only
		}
		set := keySetOf(t, keys)
		for _, v := range g.Tests {
			jws, ok := v.JWS.(string)
			if !ok { // of the JSON serialisation, which nobody writes into a header
				jws = string(marshal(t, v.JWS))
			}
			_, err := set.VerifySignature(context.Background(), jws)
			if err != nil && !errors.Is(err, token.ErrRefused) {
				t.Errorf("%s, %d (%s): %v", g.Comment, v.TCID, v.Comment, err)
			}
			reason := known[v.TCID]
			if reason != "" {
				used++
			}
			switch {
			case v.Result == "invalid":
				invalid++
				if (err == nil) != (reason != "") {
					t.Errorf("%s, %d (%s) is invalid, but: %v", g.Comment, v.TCID, v.Comment, err)
				}
			case v.Result == "valid":
				valid++
				if (err != nil) != (reason != "") {
					t.Errorf("%s, %d (%s) is valid, but: %v", g.Comment, v.TCID, v.Comment, err)
				}
			}
		}
	}
	if used != len(known) {
		t.Errorf("of %d mislabelled vectors %d are there", len(known), used)
	}
	return invalid, valid
}

// keySetOf has the keys of a vector as if a provider had just published them.
// Unlike those of providers, they allow all algorithms: their names are the
// vector's business.
func keySetOf(t *testing.T, raw []byte) *keySet {
	t.Helper()
	p := token.NewProvider("w")
	p.Algorithms = nil
	for _, a := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		p.Algorithms = append(p.Algorithms, token.Algorithm(a))
	}
	now := time.Now()
	set, err := newKeySet(p, newFetcher(Options{}), func() time.Time { return now })
	must(t, err)
	set.fetchedAt, set.asked = now, true
	set.limit.SetBurst(0) // nothing is fetched
	var several struct {
		Keys []strict.RawMessage `json:"keys"`
	}
	if json.Unmarshal(raw, &several) != nil || several.Keys == nil {
		several.Keys = []strict.RawMessage{raw}
	}
	for _, k := range several.Keys {
		if k, ok := parseKey(k); ok {
			set.keys = append(set.keys, k)
		}
	}
	return set
}
