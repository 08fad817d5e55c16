// Package slapd starts OpenLDAP servers for tests: each with a tree of its own,
// on free ports of the loopback, with nothing left of it afterwards.
package slapd

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// What every tree has.
const (
	Suffix = "dc=example,dc=org"
	People = "ou=people," + Suffix
	Groups = "ou=groups," + Suffix
	// Service may read everything but passwords; people only themselves.
	Service         = "cn=tokenctl,ou=services," + Suffix
	ServicePassword = "svc-secret"
	Canary          = "canary"

	root, rootPassword = "cn=root," + Suffix, "root-secret"
)

// Options say what a server is to be like.
type Options struct {
	People    int    // u1, u2 … besides the canary, without passwords
	SizeLimit int    // of answers, as slapd has it: 0 none at all
	LDIF      string // more of the tree
	Config    string // more of slapd.conf, for the whole server
	Quiet     bool   // without a log, for benchmarks
	// Passwords has Service write passwords, those of applications too, and the
	// server check argon2 and note every change, see [Server.Changes].
	Passwords bool
}

// Server is a running slapd.
type Server struct {
	URL, TLSURL, SocketURL string
	CAFile                 string // whom TLSURL and StartTLS are of
	CertFile, KeyFile      string // a client certificate of cn=client, that the server takes
	PasswordFile           string // holds ServicePassword

	t       testing.TB
	dir     string
	ports   [2]int
	quiet   bool
	process *exec.Cmd
	ended   chan error
}

// Start starts a server that ends with the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	program := needs.Program(t, "slapd", "/usr/sbin/slapd")
	dir, err := os.MkdirTemp("", "slapd") // not t.TempDir: the path of a socket has at most 107 bytes
	must(t, err)
	s := &Server{t: t, dir: dir, quiet: o.Quiet,
		SocketURL: "ldapi://" + strings.ReplaceAll(dir+"/ldapi", "/", "%2F"),
		CAFile:    dir + "/ca.pem", CertFile: dir + "/client.pem", KeyFile: dir + "/client.key", PasswordFile: dir + "/password",
	}
	t.Cleanup(func() { s.Kill(); os.RemoveAll(dir) })
	must(t, os.Mkdir(dir+"/db", 0o700))
	must(t, os.WriteFile(s.PasswordFile, []byte(ServicePassword+"\n"), 0o600))
	writeCertificates(t, dir)
	must(t, os.WriteFile(dir+"/slapd.conf", []byte(config(dir, o)), 0o600))
	load := exec.Command(filepath.Join(filepath.Dir(program), "slapadd"), "-q", "-f", dir+"/slapd.conf", "-b", Suffix)
	load.Stdin = strings.NewReader(tree(o))
	if output, err := load.CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, output)
	}
	s.process = exec.Command(program)
	for range 5 { // who else wants the ports may be quicker
		s.ports = [2]int{freePort(t), freePort(t)}
		if s.run() {
			return s
		}
	}
	t.Fatalf("slapd does not start:\n%s", s.Log())
	return nil
}

// run starts the process and reports whether it listens.
func (s *Server) run() bool {
	s.URL = fmt.Sprintf("ldap://127.0.0.1:%d", s.ports[0])
	s.TLSURL = fmt.Sprintf("ldaps://127.0.0.1:%d", s.ports[1])
	level := "stats"
	if s.quiet {
		level = "none"
	}
	log, err := os.OpenFile(s.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(s.t, err)
	defer log.Close()
	s.process = exec.Command(s.process.Path, "-f", s.dir+"/slapd.conf", "-d", level, "-h", s.URL+"/ "+s.TLSURL+"/ "+s.SocketURL)
	s.process.Stdout, s.process.Stderr = log, log
	must(s.t, s.process.Start())
	ended, process := make(chan error, 1), s.process
	s.ended = ended
	go func() { ended <- process.Wait() }()
	for range 1000 {
		select {
		case <-ended:
			s.ended = nil
			return false
		case <-time.After(10 * time.Millisecond):
		}
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.ports[1])); err == nil {
			c.Close()
			return true
		}
	}
	s.Kill()
	return false
}

// Kill ends the server at once.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop ends the server as an administrator would.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

func (s *Server) end(signal syscall.Signal) {
	if s.ended != nil {
		s.process.Process.Signal(signal)
		<-s.ended
		s.ended = nil
	}
}

// Restart starts a server again that has ended, on the same ports.
func (s *Server) Restart() {
	s.t.Helper()
	if !s.run() {
		s.t.Fatalf("slapd does not start again:\n%s", s.Log())
	}
}

// Log is what the server has logged: connections, binds, searches.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.dir + "/log")
	must(s.t, err)
	return string(text)
}

// Changes is what was changed in the tree of a server with Passwords, as LDIF.
func (s *Server) Changes() string {
	text, err := os.ReadFile(s.dir + "/changes.ldif")
	if !os.IsNotExist(err) {
		must(s.t, err)
	}
	return string(text)
}

// Values are those of an attribute, as root sees them.
func (s *Server) Values(dn, attribute string) (values []string) {
	s.t.Helper()
	s.asRoot(func(c *ldap.Conn) error {
		r, err := c.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{attribute}, nil))
		if err == nil {
			values = r.Entries[0].GetEqualFoldAttributeValues(attribute)
		}
		return err
	})
	return values
}

// Bind says whether a server takes a password, by its result code: 0 yes, 49 no.
func (s *Server) Bind(dn, password string) (code uint16) {
	s.t.Helper()
	c, err := ldap.DialURL(s.URL)
	must(s.t, err)
	defer c.Close()
	var refused *ldap.Error
	if err = c.Bind(dn, password); errors.As(err, &refused) {
		return refused.ResultCode
	}
	must(s.t, err)
	return 0
}

// Rename gives a person another name.
func (s *Server) Rename(uid, to string) {
	s.t.Helper()
	s.asRoot(func(c *ldap.Conn) error {
		return c.ModifyDN(ldap.NewModifyDNRequest(DN(uid), "uid="+ldap.EscapeDN(to), true, ""))
	})
}

// Add adds a person, with a password unless that is empty.
func (s *Server) Add(uid, password string) {
	s.t.Helper()
	a := ldap.NewAddRequest(DN(uid), nil)
	for name, value := range map[string]string{"objectClass": "inetOrgPerson", "uid": uid, "cn": "Person " + uid, "sn": "Person", "userPassword": password} {
		if value != "" {
			a.Attribute(name, []string{value})
		}
	}
	s.asRoot(func(c *ldap.Conn) error { return c.Add(a) })
}

// Remove removes a person.
func (s *Server) Remove(uid string) {
	s.t.Helper()
	s.asRoot(func(c *ldap.Conn) error { return c.Del(ldap.NewDelRequest(DN(uid), nil)) })
}

// Set replaces an attribute of an entry.
func (s *Server) Set(dn, attribute string, values ...string) {
	s.t.Helper()
	m := ldap.NewModifyRequest(dn, nil)
	m.Replace(attribute, values)
	s.asRoot(func(c *ldap.Conn) error { return c.Modify(m) })
}

func (s *Server) asRoot(fn func(*ldap.Conn) error) {
	s.t.Helper()
	c, err := ldap.DialURL(s.URL)
	must(s.t, err)
	defer c.Close()
	must(s.t, c.Bind(root, rootPassword))
	must(s.t, fn(c))
}

// DN is where a person is.
func DN(uid string) string { return "uid=" + ldap.EscapeDN(uid) + "," + People }

// Group is the LDIF of a group.
func Group(name string, members ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "dn: cn=%s,%s\nobjectClass: groupOfNames\ncn: %s\n", name, Groups, name)
	for _, m := range members {
		fmt.Fprintf(&b, "member: %s\n", m)
	}
	return b.String() + "\n"
}

// Elsewhere is the LDIF of a part of the people that is on another server.
const Elsewhere = "dn: ou=elsewhere," + People + "\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\n" +
	"ref: ldap://127.0.0.1:1/ou=elsewhere," + People + "\n\n"

func config(dir string, o Options) string {
	limit := "unlimited"
	if o.SizeLimit > 0 {
		limit = strconv.Itoa(o.SizeLimit)
	}
	modules, overlay, write := "", "", ""
	if o.Passwords {
		modules = "moduleload argon2\nmoduleload auditlog\nattributeoptions lang- app-\n" + voPerson
		overlay = "overlay auditlog\nauditlog " + dir + "/changes.ldif\n"
		write = "access to attrs=userPassword,voPersonApplicationPassword by dn.exact=\"" + Service + "\" =w by anonymous auth by * none\n"
	}
	return `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile ` + dir + `/pid
modulepath /usr/lib/ldap
moduleload back_mdb
` + modules + `
TLSCACertificateFile ` + dir + `/ca.pem
TLSCertificateFile ` + dir + `/server.pem
TLSCertificateKeyFile ` + dir + `/server.key
TLSVerifyClient try
sizelimit ` + limit + `
` + o.Config + `
database mdb
suffix "` + Suffix + `"
rootdn "` + root + `"
rootpw ` + rootPassword + `
directory ` + dir + `/db
maxsize 1073741824
dbnosync
index objectClass,uid,member eq
` + overlay + write + `access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="` + Service + `" read by dn.exact="cn=client" read by dn.regex="cn=peercred,cn=external,cn=auth$" read by self read by * none
`
}

// voPerson is what https://voperson.org has of passwords.
const voPerson = `attributetype ( 1.3.6.1.4.1.34998.3.3.1.1 NAME 'voPersonApplicationPassword'
	EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
objectclass ( 1.3.6.1.4.1.34998.3.3.1 NAME 'voPerson' SUP top AUXILIARY MAY voPersonApplicationPassword )
`

func tree(o Options) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "dn: %s\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n", Suffix)
	for _, ou := range []string{"people", "groups", "services"} {
		fmt.Fprintf(&b, "dn: ou=%s,%s\nobjectClass: organizationalUnit\nou: %s\n\n", ou, Suffix, ou)
	}
	fmt.Fprintf(&b, "dn: %s\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: tokenctl\nuserPassword: %s\n\n", Service, ServicePassword)
	person := func(uid string) {
		fmt.Fprintf(&b, "dn: uid=%s,%s\nobjectClass: inetOrgPerson\nuid: %s\ncn: Person %s\nsn: Person\n\n", uid, People, uid, uid)
	}
	person(Canary)
	for i := range o.People {
		person("u" + strconv.Itoa(i+1))
	}
	b.WriteString(o.LDIF)
	return b.String()
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
