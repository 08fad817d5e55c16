package idp

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// checked is which checks say yes, and which no.
func checked(findings []token.Finding) string {
	var words []string
	for _, f := range findings {
		sign := "-"
		if f.OK {
			sign = "+"
		}
		words = append(words, sign+f.Check)
	}
	return strings.Join(words, " ")
}

func TestExplain(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t, func(p *token.Provider) {
		p.RoleClaim, p.RoleMap = "groups", []token.RoleMapping{{From: "ops", Role: "writer"}}
	})
	disabled := i.set(t, func(p *token.Provider) { p.Disabled = true })
	for _, c := range []struct {
		set  *Set
		jwt  string
		want string
		err  error
	}{
		{s, i.good(t), "+form +issuer +algorithm +audience +times +kind +required +identity +roles +signature", nil},
		{s, i.sign(t, nil, object{"aud": "x", "sub": "", "nonce": "n"}), "+form +issuer +algorithm -audience +times -kind +required -identity +roles +signature", token.ErrRefused},
		{s, i.sign(t, object{"kid": "k2"}, object{"exp": 1}), "+form +issuer +algorithm +audience -times +kind +required +identity +roles -signature", token.ErrRefused},
		{s, i.sign(t, nil, object{"iss": "x"}), "+form -issuer", token.ErrRefused},
		{s, "x", "-form", token.ErrMalformed},
		{disabled, i.good(t), "+form -issuer +algorithm +audience +times +kind +required +identity +roles +signature", token.ErrRefused},
	} {
		findings, err := c.set.Explain(t.Context(), c.jwt)
		if got := checked(findings); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s, %v; want %s, %v", got, err, c.want, c.err)
		}
		_, judged := c.set.Judge(t.Context(), c.jwt)
		if fmt.Sprint(judged) != fmt.Sprint(err) {
			t.Errorf("it was judged %v, and explained %v", judged, err)
		}
	}
	strict := i.set(t, func(p *token.Provider) { p.Require = []token.ClaimValue{{Claim: "owner", Value: "7"}} })
	findings, err := strict.Explain(t.Context(), i.good(t))
	if got, want := checked(findings), "+form +issuer +algorithm +audience +times +kind -required +identity +roles +signature"; got != want || !errors.Is(err, token.ErrRefused) {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	findings, _ = strict.Explain(t.Context(), i.sign(t, nil, object{"owner": []string{"8", "7"}}))
	if got, want := findings[6].Text, `its claim owner is "7", as is required`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	findings, _ = s.Explain(t.Context(), i.sign(t, nil, object{"groups": []string{"ops", "dev"}}))
	var texts []string
	for _, f := range findings {
		texts = append(texts, f.Text)
	}
	for _, want := range []string{"that of the provider corp", "signed with ES256", `"` + audience + `" is ours`, "in 10m", `claim sub says who it is: "alice"`, `["ops" "dev"], the roles for that are: writer`, `by the key "k1"`} {
		if !strings.Contains(strings.Join(texts, "\n"), want) {
			t.Errorf("nothing says %q in:\n%s", want, strings.Join(texts, "\n"))
		}
	}
}

func TestReadSample(t *testing.T) {
	i := newIssuer(t)
	s, err := ReadSample(i.sign(t, object{"typ": "JWT"}, object{"aud": []string{audience, "b"}, "n": 1, "o": object{"a": "b"}, "exp": 9999999999, "iat": 1}))
	must(t, err)
	want := token.NewProvider("")
	want.Issuer, want.Audiences, want.Algorithms = i.URL, []string{audience, "b"}, []token.Algorithm{"ES256"}
	claims := []Claim{
		{"aud", `["` + audience + `","b"]`}, {"exp", "9999999999"}, {"iat", "1"}, {"iss", `"` + i.URL + `"`},
		{"jti", `"j1"`}, {"n", "1"}, {"o", `{"a":"b"}`}, {"sub", `"alice"`},
	}
	if diff := cmp.Diff(Sample{Provider: want, Subject: "alice", Claims: claims}, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want.Name = "corp"
	must(t, want.Check())
	fetched(t, i, 0)

	s, err = ReadSample(i.sign(t, object{"alg": "HS256"}, object{"iss": nil, "aud": nil, "sub": nil, "exp": nil, "nonce": "n"}))
	must(t, err)
	notes := strings.Join(s.Notes, "\n")
	for _, want := range []string{"cannot sign with \"HS256\"", "no issuer", "aud) is missing", "no sub", "its exp", "it is an ID token"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note says %q:\n%s", want, notes)
		}
	}
	if _, err := ReadSample("x.y.z"); !errors.Is(err, token.ErrMalformed) {
		t.Errorf("%v, want a token.ErrMalformed", err)
	}
}

func TestNameFor(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://idp.example.org/realms/x": "idp.example.org", "https://[::1]:80": "::1", "corp": "", "": "", "http://local": "", "https://%zz": "",
		"https://" + strings.Repeat("a", 65): "",
	} {
		if got := NameFor(issuer); got != want {
			t.Errorf("%q: %q, want %q", issuer, got, want)
		}
	}
}
