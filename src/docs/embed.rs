use slotyard::{Demand, Heartbeat, JobRequest, NoNode, CreateJobError, NodeSpec, Scheduler, Service};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scheduler = Scheduler::builder().heartbeat_timeout(Duration::from_secs(15)).build()?;

    // A worker node arrives, and says that it is ready.
    let spec = NodeSpec::new("gpu-7").capacity(8).asr(["zh", "en"]).nmt_any(["zh", "en"]).tts(["en"]);
    let node = scheduler.register(spec)?;
    scheduler.heartbeat(&node, &Heartbeat::ready().running(0))?;

    // A client asks for a translation: one slot is reserved, once for this request id.
    let demand = Demand::translate("zh", "en").services([Service::ASR, Service::NMT, Service::TTS]);
    let request = JobRequest::new("req-42", demand).session("s-1");
    match scheduler.create_job(&request) {
        Ok(job) => {
            println!("send {} to {}", job.request_id(), job.node_id());
            scheduler.dispatched(job.id(), job.attempt())?;
            scheduler.complete(job.id(), job.attempt())?;
        }
        Err(CreateJobError::NoNode(NoNode::Busy(busy))) => println!("try again in {:?}", busy.retry_after()),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
