import pickle,time,sys
import repairsolver as rs
print(rs.__file__)
tot=0
for net,prop,f,t,boxes in pickle.load(open("/tmp/proved.pkl","rb")):
    N=rs.load_network(net); P=rs.load_property(prop,network=N)
    c=time.process_time(); r=rs.check(f,network=N,property=P); c=time.process_time()-c; tot+=c
    print(net[-20:-16],prop[-9:],boxes,r.valid,f"check {c:.2f} prove {t:.2f} ratio {c/t:.2f}",flush=True)
print("total",tot)
