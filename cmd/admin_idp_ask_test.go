package cmd_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What a provider says of itself when it is added is told, and stops nothing.
func TestProviderIsAsked(t *testing.T) {
	t.Parallel()
	home, says := t.TempDir(), ""
	var asked []string
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		fmt.Fprint(w, says)
	}))
	defer provider.Close()
	for i, test := range []struct {
		says, want string
		args       []string
	}{
		{`{"issuer":"URL","jwks_uri":"https://id.example.org/keys"}`, "tokenctl: the provider answers, and has its keys at https://id.example.org/keys\n", nil},
		{`{"issuer":"https://other.example.org"}`, "tokenctl: warning: its JWTs may be refused: the provider at URL calls itself \"https://other.example.org\"\n", nil},
		{`{"issuer":"URL","jwks_uri":"ftp://id.example.org/\u001b[2J"}`, "tokenctl: warning: its JWTs will be refused: the provider at URL has its keys at \"ftp://id.example.org/\\x1b[2J\", where nobody can fetch them safely\n", nil},
		{`no`, "tokenctl: warning: its JWTs may be refused: what URL says of itself is no OpenID configuration\n", nil},
		{`no`, "", []string{"--no-check"}},
		{`no`, "", []string{"--jwks-url", "https://id.example.org/keys"}},
		{`no`, "", []string{"--quiet"}},
	} {
		says, asked = strings.ReplaceAll(test.says, "URL", provider.URL), nil
		name := fmt.Sprintf("p%d", i)
		c := exec.CommandContext(t.Context(), "tokenctl", append([]string{"admin", "idp", "add", name, "--issuer", provider.URL, "--audience", "tokenctl", "--unlinked"}, test.args...)...)
		c.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
		var stderr strings.Builder
		c.Stderr = &stderr
		if err := c.Run(); err != nil {
			t.Fatalf("%s: %v\n%s", test.says, err, stderr.String())
		}
		got := strings.TrimPrefix(stderr.String(), "tokenctl: added the identity provider "+name+"\n")
		if want := strings.ReplaceAll(test.want, "URL", provider.URL); got != want {
			t.Errorf("%s %q:\n%q\nnot\n%q", test.says, test.args, got, want)
		}
		if wants := test.args == nil || test.args[0] == "--quiet"; (len(asked) == 1) != wants {
			t.Errorf("%s %q: asked %q", test.says, test.args, asked)
		}
		tokenctl(t, home, "", "admin", "idp", "delete", name, "--yes") // its issuer is one provider's
	}
}
