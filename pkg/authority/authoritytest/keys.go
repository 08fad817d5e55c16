package authoritytest

import (
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var keys = []rule{
	{"The next signing key is published before it signs", rotateSigning},
	{"A retired signing key checks as long as its tokens live", retiredKeys},
	{"A new key of the key file leaves what is there good", rotateKeyFile},
	{"An algorithm that we do not have changes nothing", rotateUnknown},
}

func (w *world) kid(a authority.AccessToken) string {
	w.Helper()
	kid, _ := w.jwt(a).header["kid"].(string)
	return kid
}

// signing lists the signing keys by state.
func (w *world) signing() map[string][]string {
	w.Helper()
	all, err := w.root.ListKeys(background)
	w.must(err)
	states := map[string][]string{}
	for _, k := range all {
		if k.Use == "sign" {
			states[k.State] = append(states[k.State], k.ID)
		}
	}
	return states
}

func rotateSigning(w *world) {
	r := w.generate(w.alice, refresh())
	old := w.exchange(r.Secret)
	before := w.signing()
	if len(before["active"]) != 1 || len(before["next"]) != 1 || before["active"][0] != w.kid(old) {
		w.Fatalf("the keys are %v", before)
	}
	next := before["next"][0]
	if _, ok := w.published()[next]; !ok {
		w.Error("the next key is not published")
	}
	w.wait(time.Hour / 2)
	key, err := w.admin.RotateSigning(background, token.EdDSA)
	w.must(err)
	w.equal("the key that signs", []string{key.Use, key.ID, key.State, string(key.Algorithm)}, []string{"sign", next, "active", "EdDSA"})
	w.equal("the access token's key", w.kid(w.exchange(r.Secret)), next)
	w.accepts(old.Text)
	w.equal("the retired key", w.signing()["retired"], before["active"])
	if n := len(w.published()); n != 3 {
		w.Errorf("%d keys are published", n)
	}
}

func retiredKeys(w *world) {
	const life = 3 * token.Day // longer than by default
	w.set(w.root, "access_token_max_lifetime", "3d")
	w.setConnection(func(c *token.Connection) { c.AccessLifetime = life })
	r := w.generate(w.alice, refresh())
	w.until(w.second())
	old := w.exchange(r.Secret)
	w.set(w.root, "access_token_max_lifetime", "1h") // which shortens no token that is made
	_, err := w.root.RotateSigning(background, token.EdDSA)
	w.must(err)
	_, err = w.root.RotateSigning(background, token.EdDSA)
	w.must(err)
	w.wait(life - 1)
	w.accepts(old.Text)
	if _, ok := w.published()[w.kid(old)]; !ok {
		w.Error("the key of a live token is not published")
	}
	w.wait(time.Hour)
	if _, ok := w.published()[w.kid(old)]; ok {
		w.Error("a key without a live token is published")
	}
	w.refuses(old.Text, authority.TokenExpired)
}

func rotateKeyFile(w *world) {
	u, r := w.generate(w.alice, user()), w.generate(w.alice, refresh())
	a := w.exchange(r.Secret)
	file := func() (states []string) {
		all, err := w.root.ListKeys(background)
		w.must(err)
		for _, k := range all {
			if k.Use == "file" {
				states = append(states, k.ID+" "+k.State)
			}
		}
		slices.Sort(states)
		return states
	}
	w.equal("the keys", file(), []string{"1 active"})
	key, err := w.admin.RotateKeyFile(background)
	w.must(err)
	w.equal("the key", []string{key.Use, key.ID, key.State}, []string{"file", "2", "active"})
	w.equal("the keys", file(), []string{"1 retired", "2 active"})
	grace := w.generate(w.bob, user())
	for _, i := range []authority.Issued{u, r, grace} {
		w.accepts(i.Secret)
		w.use(i.Secret, "192.0.2.1") // which hashes anew
		w.accepts(i.Secret)
		w.equal("the revision", w.get(i.Token.ID).Revision, i.Token.Revision)
	}
	w.accepts(a.Text)
	w.accepts(w.exchange(r.Secret).Text)
	if rep, err := w.root.VerifyAudit(background); err != nil || len(rep.Broken) > 0 {
		w.Errorf("the log is %+v, %v", rep, err)
	}
	if rep, err := w.root.Check(background, true); err != nil || len(rep.Problems) > 0 {
		w.Errorf("the store is %q, %v", rep.Problems, err)
	}
}

func rotateUnknown(w *world) {
	w.unchanged("an unknown algorithm", func() {
		for _, a := range []token.Algorithm{"", "none", "HS256", "eddsa"} {
			_, err := w.root.RotateSigning(background, a)
			w.fails(err, token.ErrUsage)
		}
	})
}
