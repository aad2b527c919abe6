// SPDX-License-Identifier: GPL-2.0
/*
 * An asynchronous compressor, as hardware has them: LZ4, calculated by a work
 * item while the caller sleeps. With it zswap takes the path on which it sleeps
 * while it has an object mapped, or copies the object first if the backend does
 * not allow that. The parameters count from where objects are decompressed.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <crypto/internal/acompress.h>
#include <linux/atomic.h>
#include <linux/lz4.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/scatterlist.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

/* A number that is read, and reset by writing, as a module parameter. */
static int count_set(const char *value, const struct kernel_param *param)
{
	s64 number;
	int error = kstrtos64(value, 0, &number);

	if (!error)
		atomic64_set(param->arg, number);
	return error;
}

static int count_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%lld\n", atomic64_read(param->arg));
}

static const struct kernel_param_ops count_ops = {
	.set = count_set,
	.get = count_get,
};

#define COUNT(name, description)					\
	static atomic64_t name;						\
	module_param_cb(name, &count_ops, &name, 0600);			\
	MODULE_PARM_DESC(name, description)

COUNT(direct, "Objects decompressed from a movable page, where the backend keeps them");
COUNT(copied, "Objects decompressed from kmalloc memory: zswap's own buffer");
COUNT(bounced, "Objects decompressed from other pages: a buffer of the backend");
COUNT(copied_bytes, "Bytes of the objects that zswap copied");
COUNT(direct_bytes, "Bytes of the objects that nobody copied");

static struct workqueue_struct *workqueue;

struct request {
	struct work_struct work;
	struct acomp_req *acomp;
	int (*calculate)(struct acomp_req *acomp);
};

struct context {
	void *workspace;
};

/* zswap's requests have one entry each for source and destination, in the direct map. */
static int compress(struct acomp_req *acomp)
{
	struct context *context = acomp_tfm_ctx(crypto_acomp_reqtfm(acomp));
	int length = LZ4_compress_default(sg_virt(acomp->src), sg_virt(acomp->dst), acomp->slen,
					  acomp->dlen, context->workspace);

	if (!length)
		return -ENOSPC;
	acomp->dlen = length;
	return 0;
}

static void count_source(const struct acomp_req *acomp)
{
	struct page *page = sg_page(acomp->src);

	/* First, for what tells a movable page is something else in a slab's. */
	if (folio_test_slab(page_folio(page))) {
		atomic64_inc(&copied);
		atomic64_add(acomp->slen, &copied_bytes);
	} else if (__PageMovable(page)) {
		atomic64_inc(&direct);
		atomic64_add(acomp->slen, &direct_bytes);
	} else {
		atomic64_inc(&bounced);
	}
}

static int decompress(struct acomp_req *acomp)
{
	int length;

	count_source(acomp);
	length = LZ4_decompress_safe(sg_virt(acomp->src), sg_virt(acomp->dst), acomp->slen,
				     acomp->dlen);
	if (length < 0)
		return -EINVAL;
	acomp->dlen = length;
	return 0;
}

static void calculate(struct work_struct *work)
{
	struct request *request = container_of(work, struct request, work);
	struct acomp_req *acomp = request->acomp;
	int error = request->calculate(acomp);

	/* The caller may free the request as soon as it knows. */
	acomp_request_complete(acomp, error);
}

static int queue(struct acomp_req *acomp, int (*what)(struct acomp_req *acomp))
{
	struct request *request = acomp_request_ctx(acomp);

	if (sg_nents(acomp->src) != 1 || sg_nents(acomp->dst) != 1)
		return -EINVAL;
	INIT_WORK(&request->work, calculate);
	request->acomp = acomp;
	request->calculate = what;
	queue_work(workqueue, &request->work);
	return -EINPROGRESS;
}

static int queue_compress(struct acomp_req *acomp)
{
	return queue(acomp, compress);
}

static int queue_decompress(struct acomp_req *acomp)
{
	return queue(acomp, decompress);
}

static int init_context(struct crypto_acomp *tfm)
{
	struct context *context = acomp_tfm_ctx(tfm);

	context->workspace = vmalloc(LZ4_MEM_COMPRESS);
	return context->workspace ? 0 : -ENOMEM;
}

static void exit_context(struct crypto_acomp *tfm)
{
	struct context *context = acomp_tfm_ctx(tfm);

	vfree(context->workspace);
}

static struct acomp_alg algorithm = {
	.compress = queue_compress,
	.decompress = queue_decompress,
	.init = init_context,
	.exit = exit_context,
	.reqsize = sizeof(struct request),
	.base = {
		.cra_name = "lz4-async-test",
		.cra_driver_name = "lz4-async-test-workqueue",
		.cra_flags = CRYPTO_ALG_ASYNC,
		.cra_ctxsize = sizeof(struct context),
		.cra_module = THIS_MODULE,
	},
};

static int __init async_acomp_init(void)
{
	int error;

	/* zswap waits for it when memory is short. */
	workqueue = alloc_workqueue("async_acomp", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!workqueue)
		return -ENOMEM;
	error = crypto_register_acomp(&algorithm);
	if (error)
		destroy_workqueue(workqueue);
	return error;
}
module_init(async_acomp_init);

static void __exit async_acomp_exit(void)
{
	crypto_unregister_acomp(&algorithm);
	destroy_workqueue(workqueue);
}
module_exit(async_acomp_exit);

MODULE_DESCRIPTION("An asynchronous compressor for tests of zswap");
MODULE_LICENSE("GPL");
