package main

import ("context";"fmt";"os";"time"; "github.com/fairlead/fairlead/testenv/golden")
func main(){
 ctx,c:=context.WithTimeout(context.Background(),10*time.Minute); defer c()
 if os.Args[1]=="apply" { if err:=golden.Apply(ctx,os.Args[2]);err!=nil{fmt.Println(err);os.Exit(1)}; return}
 err:=golden.Record(ctx,golden.Recording{Kubeconfig:os.Args[2],DSN:os.Args[3],Accounts:os.Args[5:],Directory:os.Args[4],Progress:func(s string){fmt.Println(s)}})
 if err!=nil{fmt.Println(err);os.Exit(1)}
}
