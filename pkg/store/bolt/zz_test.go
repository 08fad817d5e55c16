package bolt
import ("testing";"os";"fmt";"os/exec";"strconv";"path/filepath";"strings";"bytes";"github.com/tokenctl/tokenctl/pkg/store")
func build(t *testing.T) string {
 p:=newPath(t); s:=open(t,Options{Path:p})
 for r:=range 8 { _=r; if err:=s.Update(background,func(w store.Writer) error { for i:=range 60 { if err:=putRow(w,uint64(r*60+i)); err!=nil {return err} }; return nil }); err!=nil {t.Fatal(err)} }
 s.Update(background,func(w store.Writer) error { for i:=range 100 { w.Delete(rowKeys(uint64(i*3))[0]) }; return nil})
 s.Close(); return p
}
func use(p string, ex bool) (res string) {
 defer func(){ if x:=recover();x!=nil {res=fmt.Sprint("PANIC ",x)} }()
 s,err:=Open(Options{Path:p,Exclusive:ex,NoSync:true}); if err!=nil {return "open: "+err.Error()}
 defer s.Close()
 n:=0
 err=s.View(background,func(r store.Reader) error { for e,err:=range r.Scan(nil,nil) { if err!=nil {return err}; for _,b:=range e.Value { n+=int(b)} }; for i:=range 480 { r.Get(rowKeys(uint64(i))[2]) }; return nil })
 if err!=nil { res="view: "+err.Error()+" " }
 err=s.Update(background,func(w store.Writer) error { for i:=range 60 { if err:=putRow(w,uint64(1000+i)); err!=nil {return err} }; return nil })
 if err!=nil { res+="update: "+err.Error() }
 return res
}
func TestChild(t *testing.T) {
 if os.Getenv("ZZ")=="" {t.Skip()}
 from,_:=strconv.Atoi(os.Getenv("ZZ"))
 img,_:=os.ReadFile(os.Getenv("ZZIMG"))
 d,_:=os.MkdirTemp("/dev/shm","zz"); defer os.RemoveAll(d); p:=filepath.Join(d,"x")
 pages:=len(img)/4096
 k:=0
 for pg:=0;pg<pages;pg++ { for off:=0;off<16+16*int(img[pg*4096+10])&0xfff0;off++ { for bit:=0;bit<8;bit++ {
  k++; if k<=from {continue}; if img[pg*4096+8]!=1 || off<16 || off%16<8 || off%16>9 {continue}
  fmt.Fprintf(os.Stderr,"AT %d %d %d %d\n",k,pg,off,bit)
  b:=bytes.Clone(img); b[pg*4096+off]^=1<<bit
  os.WriteFile(p,b,0o600)
  r:=use(p,k%2==0)
  if strings.HasPrefix(r,"PANIC") { fmt.Fprintf(os.Stderr,"RES %s\n",r) }
 }}}
 fmt.Fprintln(os.Stderr,"DONE")
}
func TestZZ(t *testing.T){
 p:=build(t); fi,_:=os.Stat(p); t.Log(fi.Size())
 from:=0
 crashes:=0
 for {
  c:=exec.Command(os.Args[0],"-test.run=TestChild"); c.Env=append(os.Environ(),"ZZ="+strconv.Itoa(from),"ZZIMG="+p)
  var e bytes.Buffer; c.Stderr=&e; c.Run()
  out:=e.String()
  for _,l:=range strings.Split(out,"\n") { if strings.HasPrefix(l,"RES") { t.Log(l) } }
  if strings.Contains(out,"DONE") {break}
  i:=strings.LastIndex(out,"AT "); var pg,off,bit int
  fmt.Sscanf(out[i:],"AT %d %d %d %d",&from,&pg,&off,&bit)
  crashes++
  l:=out[i:]; if len(l)>400 {l=l[:400]}
  t.Log("CRASH",pg,off,bit,l)
  if crashes>40 {break}
 }
}
