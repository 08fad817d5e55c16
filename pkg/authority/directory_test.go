package authority_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/ldap"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/slapd"
)

// A role that a directory gave long ago is asked for again, and while nobody
// answers nobody can tell.
func TestRolesOfADirectoryAge(t *testing.T) {
	t.Parallel()
	server := slapd.Start(t, slapd.Options{LDIF: slapd.Group("editors", slapd.DN("alice"), slapd.DN(slapd.Canary))})
	server.Add("alice", goodPassword)
	d, err := ldap.New(ldap.Options{
		Realm: "corp", URL: server.URL, BindDN: slapd.Service, BindPasswordFile: server.PasswordFile, BaseDN: slapd.People, Canary: slapd.Canary,
		GroupBaseDN: "ou=groups," + slapd.Suffix, Roles: []ldap.GroupRole{{Group: "cn=editors,ou=groups," + slapd.Suffix, Role: "editor"}},
	})
	must(t, err)
	defer d.Close()
	now := time.Now()
	l := authority.New(authority.Options{Store: memory.New(), Keys: keyfile.New(now), Serving: true, Now: func() time.Time { return now }, Directories: []directory.Directory{d}})
	id, err := l.LogIn(t.Context(), authority.Login{Name: "corp/alice", Password: secret.FromText(goodPassword)})
	if err != nil || id.Owner.String() != "corp/alice" || !id.HasRole("editor") {
		t.Fatalf("%+v, %v", id, err)
	}
	i, err := l.As(authority.Caller{Owner: id.Owner, Via: "password"}).Generate(t.Context(), token.Spec{Kind: token.User})
	must(t, err)
	editor := func() error {
		_, err := l.Verify(t.Context(), authority.Presented{Credential: i.Secret, Role: "editor"})
		return err
	}
	must(t, editor())
	now = now.Add(25 * time.Hour)
	must(t, editor()) // asked again
	now = now.Add(25 * time.Hour)
	server.Stop()
	if err := editor(); !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrRefused) {
		t.Errorf("an old role while the directory is away: %v", err)
	}
	if _, err := l.Verify(t.Context(), authority.Presented{Credential: i.Secret}); err != nil {
		t.Errorf("without a demand: %v", err)
	}
	server.Restart()
	must(t, editor())
	now = now.Add(25 * time.Hour)
	server.Set("cn=editors,ou=groups,"+slapd.Suffix, "member", slapd.DN(slapd.Canary))
	if err := editor(); !errors.Is(err, token.ErrRefused) {
		t.Errorf("a role that was taken away: %v", err)
	}
}
